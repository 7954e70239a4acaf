"""A verified engine as the store hands it to whoever loads it.

An engine is code. The digest was computed over exactly `data`, through the descriptor that `data` maps, so that nobody
can exchange the file between the check and the load: whoever loads reads `data` and never `path`.
"""

from dataclasses import dataclass
from mmap import mmap
from pathlib import Path


@dataclass(frozen=True, slots=True)
class EngineFile:
    """One engine, open and checked.

    data: the whole file, read-only; a private mapping of it, or its bytes. Whoever received the EngineFile closes it;
    TensorRT copies what it needs while it deserializes.
    """

    path: Path  # for messages, and for what is kept beside the engine (a runtime cache)
    digest: str  # "sha256:..." of data
    data: mmap | bytes

    @property
    def size_bytes(self) -> int:
        """Bytes of the engine."""
        return len(self.data)

    def close(self) -> None:
        """Unmap the file; harmless when done twice."""
        if isinstance(self.data, mmap):
            self.data.close()
