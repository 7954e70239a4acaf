"""Parsing request bytes into protobuf messages."""

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from appliance.errors import InvalidInput
from appliance.rpc.call import RequestBytes

MessageType = TypeVar("MessageType", bound=Message)


def parse(kind: type[MessageType], data: RequestBytes) -> MessageType:
    """Parse a message. Raises InvalidInput if the bytes are something else."""
    try:
        return kind.FromString(bytes(data))  # protobuf takes no views; bytes(...) of bytes is no copy
    except DecodeError as error:
        raise InvalidInput(f"the request is not a {kind.DESCRIPTOR.name}: its bytes cannot be parsed") from error
