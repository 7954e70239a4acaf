"""READY is said by who is ready, and by nobody else: software that says it may stay."""

import asyncio
import signal

from appliance.backends.probe import probe_until
from appliance.daemon.life_signs import LifeSigns
from appliance.daemon.model_source import NoModels
from appliance.sd_notify import SystemdNotifier
from appliance.serving.cached_engines import CachedEngines
from appliance.serving.engine_works import EngineWorks
from appliance.serving.model_manager import ModelManager
from appliance.settings import Settings
from tests.support.daemon import ROOT, DaemonProcess
from tests.test_sd_notify import NotifySocket, notify  # noqa: F401  (a fixture)


def with_signs(notify: NotifySocket, tmp_path, act) -> None:  # noqa: F811
    async def scenario() -> None:
        settings = Settings(state_directory=tmp_path)
        manager = ModelManager(
            NoModels(settings.layout),
            EngineWorks(CachedEngines(settings), probe_until),
            load_threads=1,
            load_attempts=1,
        )
        notifier = SystemdNotifier(str(notify.path))
        act(LifeSigns(notifier, manager, settings.models, watchdog_s=0, source="here", rescue=""))
        await manager.close()

    asyncio.run(scenario())


def test_a_reload_before_everything_is_loaded_says_nothing_of_ready(notify, tmp_path):  # noqa: F811
    def act(signs: LifeSigns) -> None:
        signs.loading()
        signs.reloading()
        signs.reloaded()

    with_signs(notify, tmp_path, act)

    assert not notify.has_heard("READY=1")
    assert not notify.has_heard("RELOADING=1")
    assert notify.has_heard("STATUS=loading models")


def test_a_reload_that_ends_while_the_service_drains_says_nothing_of_ready(notify, tmp_path):  # noqa: F811
    def act(signs: LifeSigns) -> None:
        signs.ready()
        notify.wait_for("READY=1")
        signs.reloading()
        signs.draining()
        signs.reloaded()

    with_signs(notify, tmp_path, act)

    assert notify.has_heard("RELOADING=1")
    assert not notify.has_heard("READY=1")


def test_what_systemd_does_not_hear_disturbs_nobody(notify, tmp_path):  # noqa: F811
    def act(signs: LifeSigns) -> None:
        notify.close()
        notify.path.unlink()
        signs.ready()

    with_signs(notify, tmp_path, act)


def test_a_hang_up_while_the_service_drains_does_not_end_it(notify):  # noqa: F811
    with DaemonProcess(ROOT / "models") as daemon:
        notify.wait_for("READY=1")
        daemon.terminate()
        notify.wait_for("STOPPING=1")
        daemon.popen.send_signal(signal.SIGHUP)

        assert daemon.wait() == 0
