"""How the process that builds an engine ended, and what that means for whoever asked. Pure."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from appliance.backends.onnx_reasons import is_lack_of_memory
from appliance.backends.tensorrt.build_request import GIBIBYTE, BuildRequest
from appliance.backends.tensorrt.flavour import Flavour
from appliance.errors import ApplianceError, Cancelled, Failed, InvalidInput


class EndedFor(Enum):
    """Why we ended the process."""

    NOTHING = "nothing"  # it ended by itself
    CANCELLED = "cancelled"
    TIME = "time"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Ending:
    """Everything that is known of the end."""

    ended_for: EndedFor
    exit_code: int  # negative: the signal that ended it
    answer: Mapping[str, Any]  # its outcome line; empty if it did not get that far
    last_words: str  # of its standard error
    where: str  # what it was doing


def judge(ending: Ending, flavour: Flavour, request: BuildRequest) -> ApplianceError:
    """Say why there is no engine: InvalidInput if the model or its profiles are at fault."""
    if ending.ended_for is EndedFor.CANCELLED:
        return Cancelled("the build of the engine was cancelled")
    file = request.model_file.name
    if ending.ended_for is EndedFor.TIME:
        message = f"{file}: building the engine takes longer than {request.timeout_s:g} s, it was {ending.where}"
        return Failed(message, hint="setting engines.build_timeout_s")
    if _lacked_memory(ending):
        limit = f"{request.memory_bytes / GIBIBYTE:.1f} GiB"
        message = f"{file}: building the engine needs more than {limit}, it was {ending.where}"
        return Failed(message, hint="setting engines.build_memory_bytes, or smaller trt_profile_max_shapes")
    if ending.answer:
        return _as_answered(ending.answer, flavour, file)
    return Failed(
        f"{file}: the process that builds the engine ended with {_how(ending)}, it was {ending.where}",
        hint="what this box can run: appliance doctor",
    )


def _as_answered(answer: Mapping[str, Any], flavour: Flavour, file: str) -> ApplianceError:
    reason, hint = str(answer["reason"]), str(answer.get("hint", ""))
    match answer["outcome"]:
        case "refused":
            message = f"{flavour.title} refuses {file}: {reason}"
            return InvalidInput(message, hint="convert it again: appliance convert --target tensorrt")
        case "invalid":
            return InvalidInput(reason, hint=hint)
        case "unwritable":
            message = f"the engine of {file} cannot be written: {reason}"
            return Failed(message, hint="make room: appliance engines prune")
        case _:
            return Failed(reason, hint=hint)


def _lacked_memory(ending: Ending) -> bool:
    said = ending.answer.get("outcome") == "memory" or is_lack_of_memory(str(ending.answer.get("reason", "")))
    return said or ending.ended_for is EndedFor.MEMORY or is_lack_of_memory(ending.last_words)


def _how(ending: Ending) -> str:
    if ending.exit_code < 0:
        return f"signal {signal.Signals(-ending.exit_code).name}"
    lines = [line.strip() for line in ending.last_words.splitlines() if line.strip()]
    return f"exit code {ending.exit_code}: {lines[-1][:200] if lines else 'it said nothing'}"
