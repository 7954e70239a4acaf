"""A verified engine as the store hands it to whoever loads it.

An engine is code. The digest was computed over exactly `data`, through the descriptor that `data` maps, so that
nobody can exchange the file between the check and the load: whoever loads reads `data` and never `path`.
"""

from dataclasses import dataclass
from mmap import mmap
from pathlib import Path

from appliance.errors import Failed


class EngineRefused(Failed):
    """TensorRT does not take an engine that is whole: it was built for something else than what is here."""


@dataclass(frozen=True, slots=True)
class EngineFile:
    """One engine, open and checked.

    data: the whole file, read-only; a private mapping of it, or its bytes. It is read only inside `Backend.load`;
    whoever received the EngineFile closes it after that.
    """

    path: Path  # for messages only
    digest: str  # "sha256:..." of data
    data: mmap | bytes
    flavour: str = "auto"  # which TensorRT built it: "tensorrt" or "tensorrt-rtx"
    runtime_cache: bytes = b""  # kernels that TensorRT-RTX compiled for this engine before, verified as the engine is
    device_bytes: int = 0  # GPU memory that it took when it was loaded before; 0: unknown

    @property
    def size_bytes(self) -> int:
        """Bytes of the engine."""
        return len(self.data)

    def close(self) -> None:
        """Unmap the file; harmless when done twice."""
        if isinstance(self.data, mmap):
            self.data.close()
