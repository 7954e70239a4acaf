"""The engine cache of this box, and the builder behind it, for the GPUs that it really has."""

import logging
import threading

from appliance.backends.cuda.gpu import choose_gpu
from appliance.backends.engine_file import EngineFile
from appliance.backends.probe import ProbeReport
from appliance.backends.tensorrt.engine_store import EngineStore
from appliance.backends.tensorrt.engine_supply import EngineSupply
from appliance.backends.tensorrt.engine_target import gpu_target
from appliance.backends.tensorrt.flavour import AUTO, Flavour, choose_flavour
from appliance.errors import ApplianceError, InvalidInput
from appliance.model.config import InstanceGroup
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
        # Loads beside it may have taken memory too: the least that was ever measured is nearest to the truth.
        least_bytes = min(device_bytes, engine.device_bytes) if engine.device_bytes else device_bytes
        store.used(key, device_bytes=least_bytes)
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
        groups = available.config.instance_group or (InstanceGroup(),)
        gpus = [choose_gpu(report.gpus, ordinals=group.gpus, wanted=self._settings.gpu.uuid) for group in groups]
        gpu = gpus[0]
        if len({(each.name, each.compute_capability, each.uuid_class) for each in gpus}) > 1:
            raise InvalidInput(
                f"its instance groups name GPUs of several kinds: {', '.join(sorted({each.name for each in gpus}))}",
                hint="an engine fits one kind: name GPUs of one kind, or make another model for the others",
            )
        flavour = self._flavour(report)
        target = gpu_target(flavour, gpu, report.driver, report.l4t)
        return EngineSupply(self._opened(), target, self._settings.engines)

    def _flavour(self, report: ProbeReport) -> Flavour:
        """Of several that are installed, the one that was seen to run."""
        wanted = self._settings.engines.flavour
        running = [each.name for each in report.flavours if each.runs.passed and wanted in (AUTO, each.name)]
        return choose_flavour(running[0] if running else wanted)

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
