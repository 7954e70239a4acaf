"""A models directory on disk and the manager that serves it, on a real event loop."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from appliance.backends.probe import probe_until
from appliance.registry.directory_source import DirectorySource
from appliance.serving.cached_engines import CachedEngines
from appliance.serving.engine_works import EngineWorks
from appliance.serving.model_manager import ModelManager
from appliance.settings import Settings

REFERENCE = """
backend = "reference"
max_batch_size = {max_batch_size}
input = [{{ name = "x", data_type = "TYPE_FP32", dims = [2] }}]
output = [{{ name = "y", data_type = "TYPE_FP32", dims = [2] }}]
{more}
"""


def engine_works(state):
    """The engine cache and the probe as the daemon has them."""
    return EngineWorks(CachedEngines(Settings(state_directory=state)), probe_until)


class ModelsDirectory:
    """Writes packages."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def reference(self, name: str, *versions: int, max_batch_size: int = 8, more: str = "") -> None:
        """Write a model of the reference backend."""
        for version in versions or (1,):
            (self.root / name / str(version)).mkdir(parents=True, exist_ok=True)
            (self.root / name / str(version) / "model.onnx").write_text("reference")
        (self.root / name / "model.toml").write_text(REFERENCE.format(max_batch_size=max_batch_size, more=more))

    @asynccontextmanager
    async def manager(self, engines=None):
        """Serve what is there; everything is drained and closed at the end."""
        manager = ModelManager(
            DirectorySource(self.root),
            engines or engine_works(self.root.parent / "state"),
            load_threads=2,
            load_attempts=2,
        )
        await manager.reconcile()
        try:
            yield manager
        finally:
            await asyncio.wait_for(manager.close(), 30)


@pytest.fixture
def models(tmp_path):
    (tmp_path / "models").mkdir()
    return ModelsDirectory(tmp_path / "models")
