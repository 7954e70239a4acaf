"""The composition root: what is built, in which order it starts, and in which reverse order it stops.

Start: lock, listen (live, not ready), load models, READY. Stop: refuse new work, answer what is in flight (bounded),
close instances, close the source. The event loop belongs to this module.
"""

import asyncio
import gc
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from appliance import __version__
from appliance.backends.probe import probe_until
from appliance.daemon.background import Background
from appliance.daemon.box_watch import BoxWatch
from appliance.daemon.flat_settings import flat
from appliance.daemon.life_signs import LifeSigns
from appliance.daemon.manager_gate import ServiceAround
from appliance.daemon.model_source import OpenSource
from appliance.daemon.post_mortem import PostMortem
from appliance.daemon.reloading import Reloading
from appliance.daemon.settings_trial import settings_problem
from appliance.daemon.state_lock import daemon_lock
from appliance.daemon.update_room import UpdateRoom
from appliance.errors import ApplianceError, Failed
from appliance.journal_messages import Event, told
from appliance.process_environment import SystemdEnvironment
from appliance.rpc.admin_service import AdminService
from appliance.rpc.call import Service
from appliance.rpc.health_service import HealthService
from appliance.rpc.inference_service import InferenceService
from appliance.rpc.listening import ListeningSockets
from appliance.rpc.reflection_service import ReflectionService
from appliance.rpc.self_call import self_call
from appliance.rpc.transport import Endpoint
from appliance.rpc.transport_choice import choose_transport
from appliance.sd_notify import SystemdNotifier
from appliance.serving.cached_engines import CachedEngines
from appliance.serving.engine_works import EngineWorks
from appliance.serving.model_manager import ModelManager
from appliance.settings import ServerSettings, Settings
from appliance.updates.software_slots import SoftwareSlots
from appliance.updates.staging_process import bring_beside_clients

logger = logging.getLogger(__name__)

ADMIN_SOCKET_MODE = 0o600
INFERENCE_SOCKET_MODE = 0o660
_CLOSING_S = 5.0  # after the last answer: instances close, an update comes to where nothing is half done
_SOCKET_SERVICE_LIMITS = ServerSettings(
    reflection=False, max_message_bytes=16 * 1024 * 1024, request_memory_bytes=64 * 1024 * 1024
)


class Daemon:
    """One appliance in one process; two of them may live in one process (tests do it)."""

    def __init__(
        self,
        settings: Settings,
        opened: OpenSource,
        systemd: SystemdEnvironment,
        read_settings: Callable[[], Settings],
        rescue: str = "",
    ) -> None:
        """rescue: why no slot could start; then this serves no models, and is there to be asked and updated."""
        self.settings = settings
        self.starts_again = False  # the process shall end with an exit status that says so
        self._rescue = rescue
        self._source = opened.source
        self._registry = opened.registry
        self._read_settings = read_settings
        self._systemd = systemd
        self._notifier = SystemdNotifier(systemd.notify_socket)
        self._stop = asyncio.Event()
        self._listeners: list[str] = []
        self._lost = False

    @property
    def _sealed(self) -> bool:
        return self._registry is not None and self._registry.sealed

    def end_rescue(self) -> None:
        """End, so that the slots get another chance."""
        self.starts_again = True
        self.request_stop()

    def request_stop(self) -> None:
        """Begin to drain, as SIGTERM does."""
        self._stop.set()

    @property
    def listeners(self) -> list[str]:
        """Addresses that accept inference."""
        return list(self._listeners)

    async def run(self, started: Callable[[], None] = lambda: None) -> bool:
        """Serve until asked to stop; False if not everything could be drained in time, or a GPU was lost.

        Raises an ApplianceError if it cannot start or go on. `started` is called when the models have settled.
        """
        self._loop = asyncio.get_running_loop()
        self._box = BoxWatch(self.settings.layout)
        self._post_mortem = PostMortem(self.settings.layout.executing, self._registry)
        with daemon_lock(self.settings.layout), self._box.watching(), self._post_mortem.asked():
            self._manager = ModelManager(
                self._source,
                EngineWorks(CachedEngines(self.settings), probe_until, gpu_uuid=self.settings.gpu.uuid),
                load_threads=self.settings.models.load_threads,
                load_attempts=self.settings.models.load_attempts,
                device_lost=self._device_lost,
                marks=self._post_mortem.marks,
            )
            self._signs = LifeSigns(
                self._notifier,
                self._manager,
                self.settings.models,
                watchdog_s=self._systemd.watchdog_s,
                source=self._source.description,
                rescue=self._rescue,
            )
            self._reloading = Reloading(
                self.settings, self._read_settings, self._manager, self._signs, self._settings_changed
            )
            self._updates = self._update_room()
            self._transport = choose_transport(self.settings.server, self.settings.layout)
            self._inference = self._inference_service()
            self._health = HealthService(self._manager)
            self._public = self._transport.make(self._public_services(), self.settings.server)
            self._admin = self._transport.make([self._admin_service().service], _SOCKET_SERVICE_LIMITS)
            if self._updates is not None:
                await self._updates.before_loading()
            await self._listen()
            keep_time = self._updates.keep_time if self._updates is not None else None
            background = Background(self._signs, self._reloading, keep_time, self._sockets, self.request_stop)
            async with background.running():
                await self._load_or_stop()
                started()
                await self._live()
            drained = await self._shut_down()
            if drained:  # else a thread is stuck, and only the caller can end the process
                background.require_sound()
            return drained and not self._lost

    def _start_again(self) -> bool:
        """End, so that the service manager starts the software that is due; whether there is one."""
        if not self._notifier.listens:
            return False
        self.starts_again = True
        self._loop.call_soon_threadsafe(self.request_stop)
        return True

    def _device_lost(self, error: Failed) -> None:
        """End, so that another process takes over: in this one nothing on the GPU works any more."""
        logger.critical("the GPU is lost to this process, which ends: %s", error, extra=told(Event.DEVICE_LOST))
        self._post_mortem.device_lost()
        self._lost = self.starts_again = True
        self._loop.call_soon_threadsafe(self.request_stop)

    def _inference_service(self) -> InferenceService:
        return InferenceService(
            self._manager,
            name=self.settings.server.name,
            version=__version__,
            transport=self._transport.name,
            repository_control=self.settings.models.repository_control and not self._sealed,
        )

    def _public_services(self) -> list[Service]:
        services = [self._inference.service, self._health.service]
        if self.settings.server.reflection:
            services += ReflectionService([service.name for service in services]).services
        return services

    def _update_room(self) -> UpdateRoom | None:
        if self._registry is None:
            return None
        return UpdateRoom(
            self.settings,
            self._registry,
            self._manager,
            ServiceAround(
                reload=self._reloading.reload,
                settings_problem=lambda: settings_problem(self._read_settings, self.settings.server.listen),
                self_call=lambda models: self_call(f"unix:{self.settings.layout.socket}", models),
                restart=self._start_again,
            ),
            bring=bring_beside_clients,
            slots=SoftwareSlots.of(self.settings.layout, rescue=bool(self._rescue)),
        )

    def _admin_service(self) -> AdminService:
        return AdminService(
            self._manager,
            version=__version__,
            transport=self._transport.name,
            state=lambda: self._signs.state,
            listeners=lambda: self.listeners,
            settings=lambda: flat(self._reloading.settings),
            reload=self._reloading.reload,
            device=lambda: self._updates.device() if self._updates is not None else None,
            updates=self._updates.works if self._updates is not None else None,
            box=self._box.state,
            crashed=lambda: self._registry.crash_guard.crashed() if self._registry is not None else (),
        )

    async def _listen(self) -> None:
        layout = self.settings.layout
        addresses = () if self._rescue else self.settings.server.listen
        endpoints = [Endpoint(address) for address in addresses]
        endpoints.append(Endpoint(f"unix:{layout.socket}", INFERENCE_SOCKET_MODE))
        self._listeners = await self._public.start(endpoints)
        try:
            await self._admin.start([Endpoint(f"unix:{layout.admin_socket}", ADMIN_SOCKET_MODE)])
        except ApplianceError:
            await self._public.stop(0)
            raise
        self._sockets = ListeningSockets([*self._listeners, f"unix:{layout.admin_socket}"])
        logger.info("listening on %s (transport: %s)", ", ".join(self._listeners), self._transport.name)
        if self._transport.missed:
            logger.info("over %s; %s", self._transport.name, self._transport.missed)

    async def _load_or_stop(self) -> None:
        """Load the models; a stop that comes before they have settled is not kept waiting."""
        loading = asyncio.create_task(self._load_models())
        stopping = asyncio.create_task(self._stop.wait())
        done, _ = await asyncio.wait([loading, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if loading in done:
            loading.result()
        else:
            loading.cancel()

    async def _load_models(self) -> None:
        self._signs.loading()
        # What is there before any model lives as long as the process: keep the collector from walking it.
        gc.collect()
        gc.freeze()
        await self._manager.reconcile(engines=True)
        if self._updates is not None:
            await self._updates.after_loading()
        self._signs.ready()

    async def _live(self) -> None:
        """Serve until asked to stop; meanwhile software on trial proves itself."""
        proof = asyncio.create_task(self._updates.after_ready()) if self._updates is not None else None
        await self._stop.wait()
        if proof is not None:
            proof.cancel()

    async def _settings_changed(self, names: Sequence[str]) -> None:
        if self._updates is not None:
            await self._updates.settings_changed(names)

    async def _shut_down(self) -> bool:
        self._signs.draining()
        logger.info("draining")
        grace_s = self.settings.server.drain_timeout_s
        self._inference.drain()
        self._health.drain()
        updates = asyncio.create_task(self._updates.stop()) if self._updates is not None else None
        try:
            async with asyncio.timeout(grace_s + min(grace_s, _CLOSING_S)):  # all of it: systemd waits a minute
                await self._public.stop(grace_s, self._inference.refuse)
                await self._manager.close()
                if updates is not None:
                    await updates
        except TimeoutError:
            late = told(Event.NOT_DRAINED)
            logger.error("an execution or a load did not end within %s s", grace_s, extra=late)  # noqa: TRY400
            self._manager.abandon_loads()
            return False
        finally:
            await self._admin.stop(0)
            self._remove_sockets()
        if self._updates is not None:
            await self._updates.stopped()
        logger.info("stopped")
        return True

    def _remove_sockets(self) -> None:
        for address in (*self._listeners, f"unix:{self.settings.layout.admin_socket}"):
            if address.startswith("unix:"):
                Path(address.removeprefix("unix:")).unlink(missing_ok=True)
