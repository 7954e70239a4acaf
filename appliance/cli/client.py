"""The command line's only gRPC client: it asks the daemon, over its Unix sockets or over TCP.

Invariants: nothing but the address that was asked for is ever contacted (no proxy); every failure is an
ApplianceError, and DaemonUnreachable means that nobody was there to answer.
"""

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from appliance.cli.exit_codes import DaemonUnreachable, WrongUsage
from appliance.errors import (
    AlreadyExists,
    ApplianceError,
    Busy,
    Cancelled,
    Expired,
    Failed,
    InvalidInput,
    NotFound,
    Unsupported,
)
from appliance.listen_address import parse_listen_address
from appliance.rpc.pb import appliance_admin_pb2 as admin
from appliance.rpc.pb import grpc_service_pb2 as inference
from appliance.state_layout import SYSTEM_STATE_DIRECTORY, StateLayout

R = TypeVar("R", bound=Message)

STATUS_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 5.0
_MARGIN_S = 10.0  # a daemon that was given a time answers shortly after it
_DAEMONS_OWN_LIMIT_S = 600.0
_ADMIN = "/appliance.admin.v1.ApplianceAdmin"
_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)
_ERRORS = MappingProxyType(
    {
        grpc.StatusCode.INVALID_ARGUMENT: InvalidInput,
        grpc.StatusCode.NOT_FOUND: NotFound,
        grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
        grpc.StatusCode.UNAVAILABLE: Busy,
        grpc.StatusCode.DEADLINE_EXCEEDED: Expired,
        grpc.StatusCode.CANCELLED: Cancelled,
        grpc.StatusCode.UNIMPLEMENTED: Unsupported,
    }
)
_CANNOT_CONNECT = ("failed to connect to all addresses", "Socket closed", "recvmsg:", "Connection reset")
_NO_REQUEST_ID = "[request id: <id_unknown>] "


class Connection:
    """One channel to one address: `host:port` or `unix:/path`."""

    def __init__(self, address: str, channel: grpc.Channel, hint: str) -> None:
        """Use `connect`."""
        self.address = address
        self._channel = channel
        self._hint = hint

    def ask(self, method: str, request: Message, response: type[R], timeout_s: float) -> R:
        """Call one unary method by its full path. Raises an ApplianceError."""
        call: Callable[..., R] = self._channel.unary_unary(
            method, request_serializer=type(request).SerializeToString, response_deserializer=response.FromString
        )
        try:
            return call(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise self._error(error, timeout_s) from error

    def follow(self, method: str, request: Message, response: type[R]) -> Iterator[R]:
        """Call one method that answers with a stream, however long it takes. Raises an ApplianceError."""
        call = self._channel.unary_stream(
            method, request_serializer=type(request).SerializeToString, response_deserializer=response.FromString
        )
        try:
            yield from call(request)
        except grpc.RpcError as error:
            raise self._error(error, 0) from error

    def _error(self, error: grpc.RpcError, timeout_s: float) -> ApplianceError:
        code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
        details = (error.details() if isinstance(error, grpc.Call) else None) or f"the call failed: {code.name}"
        details = details.removeprefix(_NO_REQUEST_ID)
        if code is grpc.StatusCode.UNAVAILABLE and details.startswith(_CANNOT_CONNECT):
            return DaemonUnreachable(f"{self.address} does not answer as a daemon: {details}", hint=self._hint)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return Expired(f"{self.address} did not answer within {timeout_s:g} s", hint="wait longer: --timeout")
        return _ERRORS.get(code, Failed)(details)


@contextmanager
def connect(address: str, *, hint: str) -> Iterator[Connection]:
    """Open a channel. Raises DaemonUnreachable, with the system's reason and `hint`, if nobody listens there."""
    try:
        parse_listen_address(address)
    except ValueError as error:
        raise WrongUsage(str(error)) from error
    try:
        _knock(address)
    except OSError as error:
        if isinstance(error, PermissionError):
            hint = "the same command as root: sudo appliance ..."
        raise DaemonUnreachable(f"no daemon answers at {address}: {_reason(error, address)}", hint=hint) from error
    with grpc.insecure_channel(address, options=_OPTIONS) as channel:
        yield Connection(address, channel, hint)


@contextmanager
def connect_admin(layout: StateLayout) -> Iterator["AdminClient"]:
    """Open the daemon's administration socket. Raises DaemonUnreachable."""
    with connect(f"unix:{layout.admin_socket}", hint=start_hint(layout)) as connection:
        yield AdminClient(connection)


@contextmanager
def connect_inference(address: str | None, layout: StateLayout) -> Iterator["InferenceClient"]:
    """Open `address`, or with None the daemon's Unix socket, else its usual port. Raises DaemonUnreachable."""
    if address is None:
        usual = "127.0.0.1:8001"
        address = f"unix:{layout.socket}"
        try:
            _knock(address)
        except OSError as error:
            if not _answers(usual):
                raise DaemonUnreachable(
                    f"no daemon answers at {address} ({_reason(error, address)}), nor at {usual}",
                    hint=start_hint(layout),
                ) from error
            address = usual
    with connect(address, hint=f"{start_hint(layout)}, or name its address: --address HOST:PORT") as connection:
        yield InferenceClient(connection)


class AdminClient:
    """ApplianceAdmin."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def status(self) -> admin.StatusResponse:
        """Ask for everything that the daemon says of itself."""
        return self._ask("Status", admin.StatusRequest(), admin.StatusResponse, STATUS_TIMEOUT_S)

    def reconcile(self, timeout_s: float = 0) -> admin.ReconcileResponse:
        """Let the daemon read again what it should serve; 0: its own limit of time."""
        limit_s = (timeout_s or _DAEMONS_OWN_LIMIT_S) + _MARGIN_S
        return self._ask("Reconcile", admin.ReconcileRequest(timeout_s=timeout_s), admin.ReconcileResponse, limit_s)

    def cancel_engine_build(self, name: str, version: str) -> int:
        """End the builds of engines for a model; returns how many there were. '' is every version."""
        request = admin.CancelEngineBuildRequest(name=name, version=version)
        return self._ask("CancelEngineBuild", request, admin.CancelEngineBuildResponse, STATUS_TIMEOUT_S).cancelled

    def apply_update(self, request: admin.ApplyUpdateRequest) -> Iterator[admin.UpdateEvent]:
        """Install a medium's bundle; the last event is the result."""
        return self._follow("ApplyUpdate", request, admin.UpdateEvent)

    def roll_back_update(self) -> Iterator[admin.UpdateEvent]:
        """Take the last update back; the last event is the result."""
        return self._follow("RollBackUpdate", admin.RollBackUpdateRequest(), admin.UpdateEvent)

    def _follow(self, method: str, request: Message, response: type[R]) -> Iterator[R]:
        return self._connection.follow(f"{_ADMIN}/{method}", request, response)

    def _ask(self, method: str, request: Message, response: type[R], timeout_s: float) -> R:
        return self._connection.ask(f"{_ADMIN}/{method}", request, response, timeout_s)


class InferenceClient:
    """GRPCInferenceService."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def address(self) -> str:
        """Where it is."""
        return self._connection.address

    def metadata(self, name: str, version: str) -> inference.ModelMetadataResponse:
        """Inputs and outputs of a model."""
        request = inference.ModelMetadataRequest(name=name, version=version)
        return self._ask("ModelMetadata", request, inference.ModelMetadataResponse)

    def config(self, name: str, version: str) -> inference.ModelConfigResponse:
        """The configuration in force."""
        request = inference.ModelConfigRequest(name=name, version=version)
        return self._ask("ModelConfig", request, inference.ModelConfigResponse)

    def index(self) -> inference.RepositoryIndexResponse:
        """All models and their states."""
        return self._ask("RepositoryIndex", inference.RepositoryIndexRequest(), inference.RepositoryIndexResponse)

    def infer(self, request: inference.ModelInferRequest, timeout_s: float) -> inference.ModelInferResponse:
        """Run a model once."""
        return self._ask("ModelInfer", request, inference.ModelInferResponse, timeout_s)

    def _ask(self, method: str, request: Message, response: type[R], timeout_s: float = STATUS_TIMEOUT_S) -> R:
        return self._connection.ask(f"/inference.GRPCInferenceService/{method}", request, response, timeout_s)


def start_hint(layout: StateLayout) -> str:
    """How to start the daemon of a state directory."""
    if layout.root == SYSTEM_STATE_DIRECTORY:
        return "start it: systemctl start appliance; if it fails: journalctl -u appliance"
    return f"start it: appliance serve --state {layout.root}"


def _knock(address: str) -> None:
    """Connect as plain sockets do, for the sake of the system's own reason. Raises OSError."""
    if address.startswith("unix:"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(CONNECT_TIMEOUT_S)
            probe.connect(address.removeprefix("unix:"))
        return
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S).close()


def _answers(address: str) -> bool:
    try:
        _knock(address)
    except OSError:
        return False
    return True


def _reason(error: OSError, address: str) -> str:
    path = address.removeprefix("unix:")
    match error.errno:
        case errno.ENOENT:
            return "it is not running"
        case errno.ECONNREFUSED:
            return "it is not running (connection refused)"
        case errno.EACCES | errno.EPERM:
            return f"permission denied: {path} belongs to another user"
        case None if path != address:
            return f"the path has {len(os.fsencode(path))} bytes, too many for a Unix socket: {error}"
        case _:
            return error.strerror or str(error)
