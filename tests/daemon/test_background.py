"""The signs of life are the one thing beside serving that an appliance cannot do without."""

import asyncio
import resource

import pytest

from appliance.backends.probe import probe_until
from appliance.daemon.background import Background
from appliance.daemon.life_signs import LifeSigns
from appliance.daemon.model_source import NoModels
from appliance.daemon.reloading import Reloading
from appliance.errors import Failed
from appliance.rpc.listening import ListeningSockets
from appliance.sd_notify import SystemdNotifier
from appliance.serving.cached_engines import CachedEngines
from appliance.serving.engine_works import EngineWorks
from appliance.serving.model_manager import ModelManager
from appliance.settings import Settings
from tests.support.daemon import ROOT, DaemonProcess
from tests.test_sd_notify import NotifySocket, notify  # noqa: F401  (a fixture)


def test_signs_of_life_that_fail_are_told_and_end_the_daemon_with_an_error(notify: NotifySocket, monkeypatch):  # noqa: F811
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    with DaemonProcess(ROOT / "models") as daemon:
        notify.wait_for("WATCHDOG=1")
        resource.prlimit(daemon.popen.pid, resource.RLIMIT_NOFILE, (3, 3))  # no socket can be made any more

        assert daemon.wait() == 1
        assert "the signs of life failed, so the appliance ends" in daemon.log
        assert "Too many open files" in daemon.log
        assert "the signs of life failed: OSError" in daemon.log
        assert "systemd starts the appliance again" in daemon.log


class HardToAsk(ListeningSockets):
    """The kernel has nothing left even to say so, at first."""

    def __init__(self) -> None:
        super().__init__([])
        self.answers = [
            OSError(23, "Too many open files in system"),
            RuntimeError("can't start new thread"),
            ["here"],
        ]

    def deaf(self) -> list[str]:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.slow
def test_whether_anybody_listens_is_asked_again_when_it_cannot_be_known(tmp_path, caplog):
    async def changed(names) -> None: ...

    async def scenario() -> None:
        settings = Settings(state_directory=tmp_path)
        works = EngineWorks(CachedEngines(settings), probe_until)
        manager = ModelManager(NoModels(settings.layout), works, load_threads=1, load_attempts=1)
        signs = LifeSigns(SystemdNotifier(""), manager, settings.models, watchdog_s=0, source="here", rescue="")
        reloading = Reloading(settings, lambda: settings, manager, signs, changed)
        stop = asyncio.Event()
        background = Background(signs, reloading, None, HardToAsk(), stop.set)
        async with background.running(), asyncio.timeout(30):
            await stop.wait()
        await manager.close()
        background.require_sound()

    with pytest.raises(Failed, match="nobody accepts connections to here any more"):
        asyncio.run(scenario())
    assert caplog.text.count("whether anybody can still call is not known") == 2
