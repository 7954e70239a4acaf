"""The signs of life are the one thing beside serving that an appliance cannot do without."""

import resource

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
