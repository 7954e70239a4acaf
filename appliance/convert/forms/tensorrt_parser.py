"""Asks TensorRT's own parser and builder whether they accept a graph. No GPU is needed.

The engine that is built proves it, and is thrown away: the box builds its own.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory

from appliance.backends.tensorrt.build_request import BuildProgress, BuildRequest
from appliance.backends.tensorrt.engine_builder import build_engine
from appliance.backends.tensorrt.flavour import TENSORRT_RTX, choose_flavour
from appliance.errors import ApplianceError, Failed, InvalidInput
from appliance.model.engine import ShapeRange

INSTALL_COMMAND = "pip install 'appliance[tensorrt-rtx]'"
MEMORY_BYTES = 8 << 30
TIMEOUT_S = 600.0
# Any generation that it can compile for will do, as what it supports differs little between them.
_GENERATION = "8.9"


class ParserVerdict(Enum):
    """What came of asking."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNDECIDED = "undecided"  # it crashed, took too long or too much memory
    NOT_INSTALLED = "not installed"


@dataclass(frozen=True, slots=True)
class ParserReport:
    """The verdict and its reason, in one line for people."""

    verdict: ParserVerdict
    detail: str

    def __str__(self) -> str:
        return f"{self.verdict.value}: {self.detail}"


def check_tensorrt(
    file: Path,
    profiles: Mapping[str, ShapeRange],
    *,
    memory_bytes: int = MEMORY_BYTES,
    timeout_s: float = TIMEOUT_S,
) -> ParserReport:
    """Parse the graph and build an engine from it; profiles: input -> its shapes. Never raises for a graph."""
    try:
        flavour = choose_flavour(TENSORRT_RTX)
    except Failed:
        return ParserReport(ParserVerdict.NOT_INSTALLED, f"to have the graph checked: {INSTALL_COMMAND}")
    request = BuildRequest(
        file, (profiles,) if profiles else (), 0, _GENERATION, memory_bytes=memory_bytes, timeout_s=timeout_s
    )
    try:
        with TemporaryDirectory(prefix="appliance-engine-") as folder:
            build_engine(flavour, request, Path(folder, "engine"), _ignore, threading.Event())
    except InvalidInput as error:
        return ParserReport(ParserVerdict.REFUSED, error.message)
    except ApplianceError as error:
        return ParserReport(ParserVerdict.UNDECIDED, error.message)
    return ParserReport(ParserVerdict.ACCEPTED, f"{flavour.title} parses and builds it")


def _ignore(progress: BuildProgress) -> None:
    """A check has no bar of its own."""
