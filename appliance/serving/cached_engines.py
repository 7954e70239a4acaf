"""The engine cache of this box, and the builder behind it, for the GPUs that it really has."""

import logging
import threading

from appliance.backends.cuda.gpu import choose_gpu
from appliance.backends.engine_file import EngineFile
from appliance.backends.probe import ProbeReport
from appliance.backends.tensorrt.engine_store import EngineStore
from appliance.backends.tensorrt.engine_supply import EngineSupply
from appliance.backends.tensorrt.engine_target import gpu_target
from appliance.backends.tensorrt.flavour import choose_flavour
from appliance.errors import ApplianceError
from appliance.registry.database import Database
from appliance.registry.engine_records import EngineRecords
from appliance.registry.source import AvailableVersion
from appliance.serving.engine_works import Advance
from appliance.settings import Settings

logger = logging.getLogger(__name__)


class CachedEngines:
    """Finds and builds; an EngineSource. The cache is opened when a model first asks for an engine."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opening = threading.Lock()
        self._store: EngineStore | None = None

    def find(self, available: AvailableVersion, report: ProbeReport) -> EngineFile | None:
        """Return the verified engine of a version, None if it has to be built. Raises InvalidInput, Failed."""
        return self._supply(available, report).find(available)

    def loaded(self, engine: EngineFile, runtime_cache: bytes, device_bytes: int) -> None:
        """Note what loading an engine took, and keep the kernels that were compiled for it."""
        key, store = engine.path.parent.name, self._opened()
        store.used(key, device_bytes=device_bytes)
        if runtime_cache and runtime_cache != engine.runtime_cache:
            try:
                store.keep_runtime_cache(key, runtime_cache)
            except ApplianceError as error:
                logger.warning("the kernels compiled for engine %s are not kept: %s", key[:12], error)

    def discard(self, engine: EngineFile, reason: str) -> None:
        """Remove an engine that TensorRT refuses."""
        self._opened().discard(engine.path.parent.name, reason)

    def build(
        self, available: AvailableVersion, report: ProbeReport, advance: Advance, cancelled: threading.Event
    ) -> None:
        """Build and keep the engine of a version. Raises InvalidInput, Failed, Cancelled."""
        self._supply(available, report).build(available, advance, cancelled)

    def _supply(self, available: AvailableVersion, report: ProbeReport) -> EngineSupply:
        ordinals = next((group.gpus for group in available.config.instance_group if group.gpus), ())
        gpu = choose_gpu(report.gpus, ordinals=ordinals, wanted=self._settings.gpu.uuid)
        flavour = choose_flavour(self._settings.engines.flavour)
        target = gpu_target(flavour, gpu, report.driver, report.l4t)
        return EngineSupply(self._opened(), target, self._settings.engines)

    def _opened(self) -> EngineStore:
        with self._opening:
            if self._store is None:
                layout = self._settings.layout
                database = Database(layout.database)
                database.prepare()  # where a directory is served there may be no registry yet
                records, largest_bytes = EngineRecords(database), self._settings.engines.largest_bytes
                store = EngineStore(layout.engines, records, largest_bytes=largest_bytes)
                store.open_store()
                self._store = store
            return self._store
