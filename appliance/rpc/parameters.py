"""Request parameters: which keys mean something, and of which kind their values must be."""

from collections.abc import Mapping

from appliance.errors import InvalidInput
from appliance.rpc.pb.grpc_service_pb2 import InferParameter

RESERVED_PREFIX = "triton_"
EMPTY_FINAL_RESPONSE = "triton_enable_empty_final_response"
_CUSTOM_KINDS = ("int64_param", "bool_param", "string_param", "double_param")


def check_request_parameters(parameters: Mapping[str, InferParameter]) -> tuple[int, int]:
    """Check all parameters of a request; return (priority, timeout in microseconds), 0 where not given.

    Raises InvalidInput naming the key and the kind that was expected.
    """
    priority = timeout_us = 0
    for key, parameter in parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        if key == "priority":
            priority = _priority(parameter, kind)
        elif key == "timeout":
            timeout_us = _timeout(parameter, kind)
        else:
            _check_kind(key, kind)
    return priority, timeout_us


def _priority(parameter: InferParameter, kind: str | None) -> int:
    if kind == "uint64_param":
        return parameter.uint64_param
    if kind != "int64_param":
        raise _wrong_kind("priority", kind, "int64_param or uint64_param")
    if parameter.int64_param < 0:
        raise InvalidInput(f"invalid value for 'priority', expected value >= 0. Got {parameter.int64_param}")
    return parameter.int64_param


def _timeout(parameter: InferParameter, kind: str | None) -> int:
    if kind != "int64_param":
        raise _wrong_kind("timeout", kind, "int64_param")
    if parameter.int64_param < 0:
        raise InvalidInput(f"invalid value for 'timeout', expected microseconds >= 0. Got {parameter.int64_param}")
    return parameter.int64_param


def _check_kind(key: str, kind: str | None) -> None:
    if key in ("sequence_start", "sequence_end", EMPTY_FINAL_RESPONSE):
        expected: tuple[str, ...] = ("bool_param",)
    elif key == "sequence_id":
        expected = ("int64_param", "string_param")
    elif key.startswith(RESERVED_PREFIX):
        raise InvalidInput(
            f"parameter keys starting with 'triton_' are reserved for Triton usage. Unknown key '{key}'"
        )
    else:
        expected = _CUSTOM_KINDS
    if kind not in expected:
        raise _wrong_kind(key, kind, " or ".join(expected))


def _wrong_kind(key: str, kind: str | None, expected: str) -> InvalidInput:
    return InvalidInput(f"invalid value type for '{key}' parameter, expected {expected}. Got {kind or 'no value'}")
