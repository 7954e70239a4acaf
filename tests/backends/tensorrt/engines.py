"""Stores, versions and engines for tests: the real ledger, the real builder."""

import hashlib
import importlib.util
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from appliance.backends.engine_file import EngineFile
from appliance.backends.tensorrt.build_request import BuildProgress
from appliance.backends.tensorrt.engine_slot import HeldSlot
from appliance.backends.tensorrt.engine_store import EngineStore
from appliance.model.config import ModelConfig
from appliance.model.engine import EngineRecord
from appliance.registry.engine_records import EngineRecords
from appliance.state_layout import StateLayout

PLENTY = 1 << 30
KEY, OTHER, THIRD = ("a" * 64, "b" * 64, "c" * 64)
CONTENT = b"machine code" * 1000

needs_tensorrt_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="needs the extra [tensorrt-rtx]"
)


@dataclass(frozen=True)
class SomeVersion:
    """A version as the supply sees it."""

    model_file: Path
    config: ModelConfig = field(default_factory=ModelConfig)
    name: str = "some"
    version: int = 1


@contextmanager
def opened_store(layout: StateLayout, largest_bytes: int = PLENTY) -> Iterator[EngineStore]:
    times = iter(range(1000, 1_000_000))
    with EngineRecords.open(layout.database) as records:
        store = EngineStore(layout.engines, records, largest_bytes=largest_bytes, clock=lambda: float(next(times)))
        store.open_store()
        yield store


def record(key: str = KEY, content: bytes = CONTENT, used_at: float = 1.0) -> EngineRecord:
    return EngineRecord(
        key=key,
        digest=digest(content),
        size_bytes=len(content),
        model="some",
        version=1,
        facts={"platform": {"flavour": "tensorrt-rtx"}, "profiles": [{"x": {"min": [1], "opt": [2], "max": [4]}}]},
        build_s=1.5,
        build_peak_bytes=10**9,
        built_at=1.0,
        used_at=used_at,
    )


def keep(store: EngineStore, key: str = KEY, content: bytes = CONTENT, used_at: float = 1.0) -> None:
    """Put something into the store as a build does; what it is does not matter to a store."""
    with opened(store, key) as slot, slot.workspace() as workspace:
        (workspace / "engine").write_bytes(content)
        store.put(slot, workspace / "engine", record(key, content, used_at)).close()


def opened(store: EngineStore, key: str) -> AbstractContextManager[HeldSlot]:
    return store.locked(key, threading.Event())


def content_of(engine: EngineFile | None) -> bytes | None:
    if engine is None:
        return None
    content = bytes(engine.data[:])
    engine.close()
    return content


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def files_below(directory: Path) -> list[str]:
    """Everything that is not a directory."""
    return sorted(
        str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_symlink() or not path.is_dir()
    )


def silent(_: BuildProgress) -> None:
    """An Advance of a caller who does not want to know."""
