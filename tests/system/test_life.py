"""The appliance on a machine of its own: installed from its package, without a network, under a real systemd."""

import numpy as np
import pytest

from tests.support.onnx_models import write_spinner
from tests.system.booted_system import BootedSystem
from tests.system.installed import UNIT, infers, load_on, main_pid, wait_ready

pytestmark = [pytest.mark.slow, pytest.mark.root]

# The marks lie behind 1024 bytes of each file.
SOMEBODY_EXECUTES = "for each in /run/appliance/executing/*; do tail -c +1025 $each; done | grep -qaP '\\x01'"


def told(system: BootedSystem) -> str:
    return system.show(UNIT, "StatusText")["StatusText"]


def test_the_package_installs_without_a_network_and_the_service_is_ready(cabinet):
    cabinet.wait_until(lambda: "serving 2 model versions" in told(cabinet), "both models in the status line", 30)
    assert infers(cabinet)
    assert "slot A" in cabinet.run(f"journalctl --unit {UNIT} --no-pager | grep 'starting software'")


def test_logs_show_the_service_with_what_the_catalog_says(cabinet):
    shown = cabinet.run("appliance logs --explain --boot")

    assert "READY: serving" in shown
    assert "Every model that is wanted has been loaded" in shown
    assert "dbus" not in cabinet.run("appliance logs --json | grep -v appliance || true")


def test_a_killed_daemon_comes_back(cabinet):
    before = main_pid(cabinet)
    cabinet.run(f"kill -KILL {before}")
    cabinet.wait_until(lambda: main_pid(cabinet) not in (0, before), "another process")
    wait_ready(cabinet)

    assert infers(cabinet)
    assert cabinet.show(UNIT, "NRestarts")["NRestarts"] == "1"


def test_a_daemon_that_hangs_is_ended_by_the_watchdog_and_comes_back(cabinet):
    before = main_pid(cabinet)
    cabinet.run(f"mkdir -p /run/systemd/system/{UNIT}.d")
    cabinet.run(f"printf '[Service]\\nWatchdogSec=4\\n' > /run/systemd/system/{UNIT}.d/quick.conf")
    cabinet.run(f"systemctl daemon-reload && systemctl restart {UNIT}")
    wait_ready(cabinet)
    before = main_pid(cabinet)
    cabinet.run(f"kill -STOP {before}")
    cabinet.wait_until(lambda: main_pid(cabinet) not in (0, before), "another process")
    wait_ready(cabinet)

    assert "Watchdog timeout" in cabinet.run(f"journalctl --unit {UNIT} --no-pager")
    assert infers(cabinet)
    cabinet.run(f"rm /run/systemd/system/{UNIT}.d/quick.conf && systemctl daemon-reload")


def test_a_segfault_while_a_model_executes_names_its_version(cabinet):
    write_spinner(cabinet.shared / "spinner" / "1" / "model.onnx")
    np.save(cabinet.shared / "for-ever.npy", np.array([10**15], np.int64))
    cabinet.run("appliance models add /shared/spinner && appliance models activate spinner 1")
    cabinet.wait_until(lambda: "serving 3 model versions" in told(cabinet), "the spinner too", 30)
    before = main_pid(cabinet)
    slow = cabinet.start("appliance infer spinner --input /shared/for-ever.npy --timeout 60")
    cabinet.wait_until(lambda: cabinet.status_of(SOMEBODY_EXECUTES) == 0, "the spinner executes")
    cabinet.run(f"kill -SEGV {before}")
    cabinet.wait_until(lambda: main_pid(cabinet) not in (0, before), "another process")
    wait_ready(cabinet)
    slow.communicate(timeout=60)

    (crash,) = cabinet.json("appliance status --json")["crashes"]
    assert (crash["name"], crash["version"], crash["count"], crash["refused"]) == ("spinner", "1", 1, False)
    shown = cabinet.run(f"journalctl --unit {UNIT} --no-pager --catalog -b")
    assert "not in order, while spinner version 1 was executing" in shown
    assert "The process before did not end in order" in shown
    assert infers(cabinet)
    cabinet.run(f"systemctl restart {UNIT}")
    wait_ready(cabinet)
    (crash,) = cabinet.json("appliance status --json")["crashes"]
    assert crash["count"] == 1, "an orderly restart counts nothing"
    cabinet.run("appliance models deactivate spinner && appliance models remove spinner 1")
    assert cabinet.json("appliance status --json")["crashes"] == []


def test_a_stop_under_load_fails_no_request_that_was_taken(cabinet):
    with load_on(cabinet) as load:
        cabinet.run(f"systemctl stop {UNIT}")
        done = load.end()
    cabinet.run(f"systemctl start {UNIT}")
    wait_ready(cabinet)

    assert done["answered"] > 100
    assert done["wrong"] == done["failed"] == 0, (done, load.words)
    assert done["refused"] > 0, "the load went on till the end"


def test_a_reload_under_load_fails_no_request_and_applies_the_settings(cabinet):
    with load_on(cabinet) as load:
        cabinet.run("printf '[log]\\nlevel = \"WARNING\"\\n' > /etc/appliance/appliance.toml")
        for _ in range(5):
            cabinet.run(f"systemctl reload {UNIT}")
        done = load.end()

    assert done["answered"] > 100
    assert (done["wrong"], done["failed"], done["refused"]) == (0, 0, 0), (done, load.words)
    assert cabinet.json("appliance status --json")["settings"]["log.level"] == "WARNING"
    cabinet.run("rm /etc/appliance/appliance.toml")


def test_settings_that_are_wrong_end_the_service_once_with_a_record_and_a_remedy(cabinet):
    cabinet.run("echo '[server]' > /etc/appliance/appliance.toml; echo 'listen = 3' >> /etc/appliance/appliance.toml")
    cabinet.run(f"systemctl restart {UNIT}", check=False)
    cabinet.wait_until(lambda: cabinet.show(UNIT, "ActiveState")["ActiveState"] == "failed", "failed")
    shown = cabinet.show(UNIT, "ExecMainStatus", "NRestarts")

    assert shown == {"ExecMainStatus": "78", "NRestarts": "0"}
    cabinet.wait_until(lambda: cabinet.status_of("grep server.listen /var/log/appliance/incident-*") == 0, "a record")
    assert "server.listen" in cabinet.run("appliance doctor", check=False)
    cabinet.run(f"rm /etc/appliance/appliance.toml; systemctl start {UNIT}")
    wait_ready(cabinet)


def test_a_start_with_a_network_and_one_without_take_the_same_time(cabinet, record_property):
    seconds = {}
    for network in ("lo", "lan"):
        cabinet.power_off()
        cabinet.boot(network)
        wait_ready(cabinet)
        shown = cabinet.show(UNIT, "ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic")
        seconds[network] = (
            int(shown["ActiveEnterTimestampMonotonic"]) - int(shown["ExecMainStartTimestampMonotonic"])
        ) / 1e6
        assert infers(cabinet)

    record_property("ready_s", seconds)
    mine = f"pid={main_pid(cabinet)},"
    assert [
        line for line in cabinet.run("ss -Hltnp").splitlines() if mine in line and "127.0.0.1]:8001" not in line
    ] == []


def test_a_package_that_is_removed_leaves_what_it_names(cabinet):
    before = cabinet.run("apt-get remove --yes appliance")

    assert "left: /var/lib/appliance" in before
    assert cabinet.status_of("test -e /usr/lib/appliance -o -e /usr/bin/appliance") == 1
    assert (
        cabinet.run(
            "systemctl list-units --all --no-legend 'appliance*.service' 'appliance*.timer' 'appliance*.path'"
        ).strip()
        == ""
    )
    cabinet.run("apt-get purge --yes appliance")
    assert cabinet.status_of("test -e /etc/appliance -o -e /var/log/appliance") == 1
