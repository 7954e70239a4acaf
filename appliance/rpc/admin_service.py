"""ApplianceAdmin: what the command line asks the running daemon, over the administration socket only."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import psutil

from appliance.errors import ApplianceError, InvalidInput
from appliance.model.lifecycle import ModelState
from appliance.registry.records import CrashedVersion
from appliance.rpc.box_state import BoxState, add_box
from appliance.rpc.call import Call, Parts, RequestBytes, Service
from appliance.rpc.crash_message import add_crashes
from appliance.rpc.messages import parse
from appliance.rpc.pb import appliance_admin_pb2 as pb
from appliance.rpc.update_methods import UpdateMethods, device_status
from appliance.serving.engine_works import EngineBuild
from appliance.serving.loaded_model import LoadedModel
from appliance.serving.model_manager import ModelManager
from appliance.serving.model_table import ModelEntry, VersionEntry
from appliance.updates.box import DeviceFacts
from appliance.updates.update_works import UpdateWorks

LONGEST_RECONCILE_S = 600.0


class AdminService:
    """Status, Reconcile, ReloadSettings, CancelEngineBuild, ApplyUpdate, RollBackUpdate."""

    def __init__(
        self,
        manager: ModelManager,
        *,
        version: str,
        transport: str,
        state: Callable[[], str],
        listeners: Callable[[], list[str]],
        settings: Callable[[], Mapping[str, str]],
        reload: Callable[[], Awaitable[tuple[list[str], list[str]]]],
        device: Callable[[], DeviceFacts | None],
        updates: UpdateWorks | None,
        box: Callable[[], BoxState] = BoxState,
        crashed: Callable[[], Sequence[CrashedVersion]] = tuple,
    ) -> None:
        """box: what the machine, the clock and the slots are like. crashed: what executed when processes ended.

        Both are asked off the event loop.
        """
        self._manager = manager
        self._version = version
        self._transport = transport
        self._state = state
        self._listeners = listeners
        self._settings = settings
        self._reload = reload
        self._device = device
        self._updates = UpdateMethods(updates)
        self._box = box
        self._crashed = crashed
        self._process = psutil.Process()
        self._started_s = time.monotonic()

    @property
    def service(self) -> Service:
        """The table of methods."""
        methods = {
            "Status": self._status,
            "Reconcile": self._reconcile,
            "ReloadSettings": self._reload_settings,
            "CancelEngineBuild": self._cancel_engine_build,
        }
        streams = {
            "ApplyUpdate": self._updates.apply_update,
            "RollBackUpdate": self._updates.roll_back_update,
        }
        return Service("appliance.admin.v1.ApplianceAdmin", methods, streams, {})

    async def _status(self, data: RequestBytes, call: Call) -> Parts:  # noqa: ARG002  (every method has the same form)
        parse(pb.StatusRequest, data)
        response = pb.StatusResponse(
            product_version=self._version,
            pid=os.getpid(),
            start_time_unix_s=int(self._process.create_time()),
            uptime_s=time.monotonic() - self._started_s,
            state=self._state(),
            listeners=self._listeners(),
            transport=self._transport,
            rss_bytes=self._process.memory_info().rss,
            models=self._models(),
            settings=dict(self._settings()),
        )
        source = self._manager.source
        if source.mode == "registry":
            response.model_source.registry_path = source.description.removeprefix("registry ")
        else:
            response.model_source.directory_path = source.description.removeprefix("directory ")
        device, progress = await asyncio.to_thread(self._device), self._updates.progress()
        if device is not None:
            response.model_source.sealed = True
            response.device.CopyFrom(device_status(device))
        if progress is not None:
            response.update.CopyFrom(progress)
        add_box(response, await asyncio.to_thread(self._box))
        try:
            add_crashes(response, await asyncio.to_thread(self._crashed))
        except ApplianceError as error:
            response.problems.append(str(error))
        return [response.SerializeToString()]

    async def _reconcile(self, data: RequestBytes, call: Call) -> Parts:  # noqa: ARG002
        timeout_s = parse(pb.ReconcileRequest, data).timeout_s
        if not 0 <= timeout_s <= LONGEST_RECONCILE_S:
            raise InvalidInput(f"timeout_s is {timeout_s}, expected 0 to {LONGEST_RECONCILE_S:.0f}")
        reconciling = asyncio.create_task(self._manager.reconcile())
        done, _ = await asyncio.wait([reconciling], timeout=timeout_s or LONGEST_RECONCILE_S)
        for task in done:
            task.result()
        models = self._models()
        settled = bool(done) and all(model.state != ModelState.LOADING.value for model in models)
        return [pb.ReconcileResponse(settled=settled, models=models).SerializeToString()]

    async def _reload_settings(self, data: RequestBytes, call: Call) -> Parts:  # noqa: ARG002
        parse(pb.ReloadSettingsRequest, data)
        applied, needs_restart = await self._reload()
        return [pb.ReloadSettingsResponse(applied=applied, needs_restart=needs_restart).SerializeToString()]

    async def _cancel_engine_build(self, data: RequestBytes, call: Call) -> Parts:  # noqa: ARG002
        request = parse(pb.CancelEngineBuildRequest, data)
        cancelled = [
            build.available
            for build in self._manager.engines.builds()
            if build.available.name == request.name and request.version in ("", str(build.available.version))
        ]
        for available in cancelled:
            self._manager.engines.cancel(available)
        return [pb.CancelEngineBuildResponse(cancelled=len(cancelled)).SerializeToString()]

    def _models(self) -> list[pb.ModelStatus]:
        table = self._manager.table
        builds = {(build.available.name, build.available.version): build for build in self._manager.engines.builds()}
        models = []
        for name, entry, reason in table.rows():
            status = _status_of(name, table.entries[name], entry, reason)
            if entry is not None and (name, entry.version) in builds:
                _add_build(status, builds[name, entry.version])
            models.append(status)
        return models


def _add_build(status: pb.ModelStatus, build: EngineBuild) -> None:
    status.engine_build.SetInParent()
    if build.progress is not None:
        status.engine_build.phase = build.progress.phase
        status.engine_build.fraction = build.progress.fraction
        status.engine_build.elapsed_s = build.progress.elapsed_s


def _status_of(name: str, model: ModelEntry, entry: VersionEntry | None, reason: str) -> pb.ModelStatus:
    if entry is None:
        return pb.ModelStatus(name=name, state="UNAVAILABLE", reason=reason)
    status = pb.ModelStatus(
        name=name,
        version=str(entry.version),
        state=entry.state.value,
        reason=reason,
        digest=entry.available.digest or "",
        aliases=sorted(alias for alias, version in model.source.aliases.items() if version == entry.version),
        execution_asked=entry.available.config.execution.text,
    )
    if entry.model is not None:
        _add_loaded(status, entry.model)
    return status


def _add_loaded(status: pb.ModelStatus, model: LoadedModel) -> None:
    status.backend = model.served.config.backend
    status.device = model.device
    status.reason = status.reason or model.device_note
    status.execution_path = model.path.value if model.path is not None else ""
    for path, why in model.passed_over.items():
        status.passed_over.add(path=path.value, reason=why)
    if model.device_bytes:
        status.memory.add(kind="GPU", size_bytes=model.device_bytes)
    status.instances = model.instances
    status.queue_depth = model.queue_depth
    status.load_duration_s = model.load_duration_s
    with model.statistics.lock:
        status.inference_count = model.statistics.inference_count
        status.execution_count = model.statistics.execution_count
        status.failure_count = model.statistics.fail.count
        status.last_inference_unix_ms = model.statistics.last_inference_ms
