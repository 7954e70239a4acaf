"""grpc.reflection: which services there are, and their descriptors, for tools such as grpcurl.

Answers come from protobuf's own pool of descriptors. Versions v1 and v1alpha of the protocol have the same messages
under two names.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection_pb2 as pb

from appliance.rpc.call import Call, Parts, RequestBytes, Service
from appliance.rpc.messages import parse
from appliance.rpc.status import INVALID_ARGUMENT, NOT_FOUND

_NAMES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


class ReflectionService:
    """ServerReflectionInfo for the services that are named."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = sorted([*names, *_NAMES])
        self._pool = descriptor_pool.Default()

    @property
    def services(self) -> list[Service]:
        """The table of methods, for each version of the protocol."""
        return [Service(name, {}, {}, {"ServerReflectionInfo": self._info}) for name in _NAMES]

    async def _info(self, requests: AsyncIterator[RequestBytes], call: Call) -> AsyncIterator[Parts]:  # noqa: ARG002
        async for data in requests:
            request = parse(pb.ServerReflectionRequest, data)
            response = pb.ServerReflectionResponse(valid_host=request.host, original_request=request)
            self._answer(request, response)
            yield [response.SerializeToString()]

    def _answer(self, request: pb.ServerReflectionRequest, response: pb.ServerReflectionResponse) -> None:
        find: dict[str, Callable[[], FileDescriptor]] = {
            "file_by_filename": lambda: self._pool.FindFileByName(request.file_by_filename),
            "file_containing_symbol": lambda: self._pool.FindFileContainingSymbol(request.file_containing_symbol),
            "file_containing_extension": lambda: self._file_of_extension(request.file_containing_extension),
        }
        kind = request.WhichOneof("message_request")
        if kind == "list_services":
            response.list_services_response.service.extend(pb.ServiceResponse(name=name) for name in self._names)
        elif kind == "all_extension_numbers_of_type":
            self._extension_numbers(request.all_extension_numbers_of_type, response)
        elif kind in find:
            try:
                _add_with_imports(find[kind](), response)
            except KeyError:
                _refuse(
                    response, NOT_FOUND, f"there is no such {kind.removeprefix('file_')}: {getattr(request, kind)}"
                )
        else:
            _refuse(response, INVALID_ARGUMENT, "the request asks for nothing")

    def _file_of_extension(self, wanted: pb.ExtensionRequest) -> FileDescriptor:
        message = self._pool.FindMessageTypeByName(wanted.containing_type)
        extension: Any = self._pool.FindExtensionByNumber(message, wanted.extension_number)
        file: FileDescriptor = extension.file
        return file

    def _extension_numbers(self, name: str, response: pb.ServerReflectionResponse) -> None:
        try:
            message = self._pool.FindMessageTypeByName(name)
        except KeyError:
            _refuse(response, NOT_FOUND, f"there is no message type {name}")
            return
        numbers = response.all_extension_numbers_response
        numbers.base_type_name = name
        numbers.extension_number.extend(extension.number for extension in self._pool.FindAllExtensions(message))


def _add_with_imports(file: FileDescriptor, response: pb.ServerReflectionResponse) -> None:
    """Add a file and all that it imports, each once: a tool then needs no further question."""
    waiting, seen = [file], {file.name}
    while waiting:
        file = waiting.pop()
        response.file_descriptor_response.file_descriptor_proto.append(file.serialized_pb)
        for imported in file.dependencies:
            if imported.name not in seen:
                seen.add(imported.name)
                waiting.append(imported)


def _refuse(response: pb.ServerReflectionResponse, code: int, message: str) -> None:
    response.error_response.error_code = code
    response.error_response.error_message = message
