"""Every fault of an installed box: how the service ends, whether systemd starts it again, and what doctor says.

The clock is not among them: a machine of namespaces has none of its own, and the host's must not be set. Clocks of
1970 and 2060 are in tests/cli/test_doctor.py.
"""

import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.system.booted_system import BootedSystem
from tests.system.installed import SITE, UNIT, infers, load_on, wait_ready

pytestmark = [pytest.mark.slow, pytest.mark.root]

STATE = "/var/lib/appliance"
SETTINGS = "/etc/appliance/appliance.toml"
DROP_IN = f"/run/systemd/system/{UNIT}.d/fault.conf"
JETSON = "/etc/nv_tegra_release"  # a Jetson is known by it
SOME_RESTARTS = 2
LISTENER = "import socket, time; s = socket.create_server(('127.0.0.1', 8001)); time.sleep(600)"


@dataclass(frozen=True)
class End:
    """How a start ended."""

    state: str
    status: str
    restarts: str


@pytest.fixture(autouse=True)
def whole(cabinet: BootedSystem) -> Iterator[None]:
    """Every test begins with a service that runs, and counts restarts from none."""
    cabinet.run(f"systemctl stop {UNIT}; systemctl reset-failed {UNIT}; systemctl start {UNIT}", check=False)
    wait_ready(cabinet)
    assert infers(cabinet)
    yield
    cabinet.run(f"systemctl stop {UNIT}; rm -f {DROP_IN} {SETTINGS} {JETSON}; systemctl daemon-reload")


def drop_in(system: BootedSystem, *lines: str) -> None:
    """What an operator adds to the unit."""
    text = "\\n".join(("[Service]", *lines))
    system.run(f"mkdir -p $(dirname {DROP_IN}); printf '{text}\\n' > {DROP_IN}; systemctl daemon-reload")


def start(system: BootedSystem) -> None:
    system.run(f"systemctl stop {UNIT}; systemctl --no-block start {UNIT}")


def restart_and_fail(system: BootedSystem) -> End:
    """Start it again, wait until systemd has given it up, and see that it stays so."""
    start(system)
    system.wait_until(lambda: end(system).state == "failed", "systemd has given it up")
    system.run("sleep 5")  # RestartSec= is 2
    return end(system)


def restart_and_loop(system: BootedSystem) -> None:
    """Start it again and wait until systemd has done so by itself a few times."""
    start(system)
    system.wait_until(lambda: int(end(system).restarts) >= SOME_RESTARTS, "restarts by systemd")


def end(system: BootedSystem) -> End:
    shown = system.show(UNIT, "ActiveState", "ExecMainStatus", "NRestarts")
    return End(shown["ActiveState"], shown["ExecMainStatus"], shown["NRestarts"])


def doctor(system: BootedSystem, user: str = "") -> dict[str, dict[str, str]]:
    """The lines by name, without those that are in order."""
    command = f"runuser -u {user} -- appliance doctor --json" if user else "appliance doctor --json"
    lines: list[dict[str, str]] = json.loads(system.run(f"{command} 2>/dev/null", check=False))
    assert all(line["remedy"] for line in lines if line["result"] != "ok")
    return {line["name"]: line for line in lines if line["result"] != "ok"}


def record(system: BootedSystem) -> str:
    """The journal's line for the newest record of a failure."""
    return system.run(f"journalctl --unit {UNIT} --output cat --no-pager | grep 'record: ' | tail -n 1")


def test_a_credential_that_is_not_there_ends_it_once_and_is_named(cabinet):
    drop_in(cabinet, "LoadCredential=tls.key:/etc/appliance/tls.key")
    ended = restart_and_fail(cabinet)
    found = doctor(cabinet)

    assert ended == End("failed", "243", "0")
    assert found["service"]["remedy"].startswith("see the line 'credentials'")
    assert "there is no /etc/appliance/tls.key" in found["credentials"]["finding"]
    assert DROP_IN in found["credentials"]["finding"]
    assert "a credential that it names is not there" in record(cabinet)
    status = cabinet.run("appliance status --json 2>/dev/null", check=False)
    assert any("there is no /etc/appliance/tls.key" in problem for problem in json.loads(status)["problems"])
    cabinet.run(f"echo key > /etc/appliance/tls.key; systemctl start {UNIT}")
    assert infers(cabinet)
    assert "credentials" not in doctor(cabinet)
    cabinet.run("rm /etc/appliance/tls.key")


def test_settings_that_only_root_can_read_end_it_once_and_doctor_says_so_to_root(cabinet):
    cabinet.run(f"echo '[log]' > {SETTINGS}; chmod 600 {SETTINGS}")
    ended = restart_and_fail(cabinet)
    found = doctor(cabinet)

    assert ended == End("failed", "78", "0")
    assert "cannot be read by the service, which runs as appliance" in found["settings"]["finding"]
    cabinet.run(found["settings"]["remedy"].replace("then: ", ""))
    assert infers(cabinet)


def test_a_wrong_command_line_ends_it_once(cabinet):
    start_of_unit = "/usr/bin/python3 -I /usr/lib/appliance/select.pyz start"
    drop_in(cabinet, "ExecStart=", f"ExecStart={start_of_unit} --no-such-option")
    ended = restart_and_fail(cabinet)

    assert ended == End("failed", "2", "0")
    assert "command line is not valid" in doctor(cabinet)["service"]["finding"]


def test_a_port_that_is_taken_is_tried_again_until_it_is_free(cabinet):
    cabinet.run(f"systemctl stop {UNIT}")
    cabinet.run(f'systemd-run --unit=other /usr/bin/python3 -c "{LISTENER}"')
    cabinet.wait_until(lambda: "8001" in cabinet.run("ss -Hltn"), "somebody else has the port")
    restart_and_loop(cabinet)
    found = doctor(cabinet)

    assert "status=75" in cabinet.run(f"journalctl --unit {UNIT} --no-pager --lines 60")
    assert "started again and again" in found["service"]["finding"]
    assert "127.0.0.1:8001 is taken by python3 (process " in found["addresses"]["finding"]
    cabinet.run("systemctl stop other")
    wait_ready(cabinet)
    assert infers(cabinet)


def test_an_address_that_comes_later_is_tried_again_until_it_is_there(cabinet):
    cabinet.run(f"printf '[server]\\nlisten = [\"192.168.78.1:8001\"]\\n' > {SETTINGS}")
    restart_and_loop(cabinet)
    found = doctor(cabinet)

    assert "192.168.78.1 is no address of this machine" in found["addresses"]["finding"]
    cabinet.run("ip address add 192.168.78.1/32 dev lo")
    wait_ready(cabinet)
    assert infers(cabinet)


@contextlib.contextmanager
def state_on(system: BootedSystem, *commands: str) -> Iterator[None]:
    """Put something over the state directory while the service is down, and take it away after."""
    system.run(f"systemctl stop {UNIT}; {'; '.join(commands)}")
    try:
        yield
    finally:
        system.run(f"systemctl stop {UNIT}; umount {STATE}")


def test_a_disk_that_has_become_read_only_ends_it_once(cabinet):
    with state_on(cabinet, f"mount --bind {STATE} {STATE}", f"mount -o remount,bind,ro {STATE}"):
        ended = restart_and_fail(cabinet)
        found = doctor(cabinet)

        assert ended == End("failed", "73", "0")
        assert f"{STATE} cannot be written: Read-only file system" in found["state"]["finding"]
        assert f"mount -o remount,rw {STATE}" in found["state"]["remedy"]
        assert "registry" not in found, "what can be read is told"
        assert "its state cannot be written" in record(cabinet)
        # Root's commands end as they do, whatever cannot be given to the service.
        assert cabinet.status_of("appliance models list") == 0
        cabinet.run(f"mount -o remount,bind,rw {STATE}; systemctl start {UNIT}")
        assert infers(cabinet)


def test_on_a_full_disk_it_serves_and_starts_and_refuses_what_needs_room(cabinet):
    small = "/tmp/small-disk"
    with state_on(
        cabinet,
        f"mkdir {small}; mount -t tmpfs -o mode=700,size=$(($(du -sk {STATE} | cut -f1) + 8192))k tmpfs {small}",
        f"cp -a {STATE}/. {small}; chown appliance: {small}; mount --bind {small} {STATE}; umount {small}",
    ):
        cabinet.run(f"systemctl start {UNIT}")
        cabinet.run(f"runuser -u appliance -- dd if=/dev/zero of={STATE}/full bs=4k", check=False)
        assert infers(cabinet)
        cabinet.run(f"systemctl restart {UNIT}")
        another = copied(cabinet, "another", lambda text: text + "\n# another\n")
        refused = cabinet.run(f"appliance models add {another}", check=False)
        found = doctor(cabinet)

        assert infers(cabinet)
        assert end(cabinet) == End("active", "0", "0")
        assert "make room" in refused
        assert found["state"]["result"] == "error"
        assert "make room" in found["state"]["remedy"]


def test_a_state_directory_of_root_is_named_and_systemd_mends_it(cabinet):
    cabinet.run(f"systemctl stop {UNIT}; chown root:root {STATE}")

    assert "belongs to root, but the service runs as appliance" in doctor(cabinet)["owner"]["finding"]
    cabinet.run(f"systemctl start {UNIT}")
    assert infers(cabinet)
    assert "owner" not in doctor(cabinet)


def test_an_ordinary_user_is_told_what_only_root_may_see(cabinet):
    found = doctor(cabinet, "nobody")

    assert {"state", "registry", "seal", "slots", "owner", "daemon", "addresses"} <= set(found)
    # What the transport is built over, everybody may know.
    assert {line["remedy"] for name, line in found.items() if name != "transport"} == {"sudo appliance doctor"}
    shown = cabinet.run("runuser -u nobody -- appliance status", check=False)
    assert "cannot be read by this user" in shown
    assert "memory" in shown
    assert "Errno" not in shown
    assert "no models" not in shown
    assert "next: the same command as root: sudo appliance" in shown
    refused = cabinet.run("runuser -u nobody -- appliance logs", check=False)
    assert "the journal cannot be read by this user" in refused
    assert "sudo appliance logs" in refused


def test_a_gpu_that_is_missing_is_waited_for_only_by_what_wants_it(cabinet):
    cabinet.run(f"touch {JETSON}")
    wait = "ExecStartPre=/usr/bin/python3 -I /usr/lib/appliance/select.pyz run wait-gpu --timeout 1"
    drop_in(cabinet, "PrivateDevices=no", wait)  # as the drop-ins for boxes with a GPU
    start(cabinet)
    wait_ready(cabinet)
    assert infers(cabinet)
    assert "gpu nodes" in doctor(cabinet)
    assert "wants it" not in cabinet.run(f"journalctl --unit {UNIT} --no-pager")

    eye = copied(cabinet, "eye", lambda text: 'execution = ["cuda"]\n' + text.replace("KIND_CPU", "KIND_GPU"))
    cabinet.run(f"appliance models add {eye}")
    cabinet.run("appliance models activate eye 1", check=False)
    restart_and_loop(cabinet)
    found = doctor(cabinet)
    assert "started again and again" in found["service"]["finding"]
    assert "not /dev/nvmap" in found["gpu nodes"]["finding"]
    assert "nvidia-modprobe" in found["gpu nodes"]["remedy"]
    assert "eye version 1 wants it" in cabinet.run(f"journalctl --unit {UNIT} --no-pager")
    cabinet.run("touch /dev/nvmap /dev/nvhost-ctrl-gpu")
    wait_ready(cabinet)
    assert infers(cabinet)
    assert "gpu nodes" not in doctor(cabinet)
    cabinet.run("appliance models deactivate eye; rm /dev/nvmap /dev/nvhost-ctrl-gpu")


def test_a_registry_that_is_damaged_ends_it_once_and_its_remedy_brings_the_models_back(cabinet):
    cabinet.run(
        f"systemctl stop {UNIT}; head -c 8192 /dev/urandom > {STATE}/registry.db; rm -f {STATE}/registry.db-*"
    )
    ended = restart_and_fail(cabinet)
    found = doctor(cabinet)

    assert ended == End("failed", "65", "0")
    assert "registry.db is damaged" in found["registry"]["finding"]
    assert "appliance models rebuild" in found["registry"]["remedy"]
    assert "its state cannot be understood" in record(cabinet)
    cabinet.run("appliance models rebuild && appliance models activate digits 1")
    cabinet.run(f"systemctl start {UNIT}")
    assert infers(cabinet)


def test_a_stop_while_a_stream_is_busy_answers_what_it_has_read(cabinet):
    shutil.copy2(Path(__file__).with_name("stream.py"), cabinet.shared)
    (cabinet.shared / "loaded").unlink(missing_ok=True)
    stream = cabinet.start(f"/usr/bin/python3 -I -B /shared/stream.py {SITE}")
    cabinet.wait_until((cabinet.shared / "loaded").exists, "the stream is busy")
    cabinet.run(f"systemctl stop {UNIT}")
    output, _ = stream.communicate(timeout=60)
    done: dict[str, Any] = json.loads(output.decode().splitlines()[-1])

    assert done["answered"] >= 100
    assert done["wrong"] == 0, done
    assert done["end"].startswith("UNAVAILABLE: GRPC server is shutting down"), done
    assert cabinet.show(UNIT, "ActiveState", "Result") == {"ActiveState": "inactive", "Result": "success"}


def test_a_stop_while_a_load_takes_minutes_ends_in_time_and_loses_no_answer(cabinet):
    cabinet.run(f"printf '[server]\\ndrain_timeout_s = 4\\n' > {SETTINGS}; systemctl restart {UNIT}")
    slow_model(cabinet.shared / "models" / "slow")
    cabinet.run("appliance models add /shared/models/slow")
    activation = cabinet.start("appliance models activate slow 1")
    cabinet.wait_until(lambda: state_of(cabinet, "slow") == "LOADING", "the long load")
    with load_on(cabinet) as load:
        began = time.monotonic()
        cabinet.run(f"systemctl stop {UNIT}")
        lasted_s = time.monotonic() - began
        done = load.end()
    activation.communicate(timeout=60)

    assert done["answered"] > 100
    assert done["wrong"] == done["failed"] == 0, (done, load.words)
    assert "State 'stop-sigterm' timed out" not in cabinet.run(f"journalctl --unit {UNIT} --no-pager")
    assert lasted_s < 60, "TimeoutStopSec="
    cabinet.run("appliance models deactivate slow")


def test_slots_that_somebody_else_could_write_and_an_owner_that_root_does_not_know_are_named(cabinet):
    cabinet.run("chmod 777 /var/lib/appliance-software")
    writable = doctor(cabinet)["slots"]
    cabinet.run("chmod 755 /var/lib/appliance-software")
    cabinet.run(f"mkdir -p {STATE}/device && touch {STATE}/device/identity.json")
    ownerless = doctor(cabinet)["slots"]
    cabinet.run(f"rm {STATE}/device/identity.json")

    assert "could be written by others than root" in writable["finding"]
    assert (
        writable["remedy"]
        == "chown -R root:root /var/lib/appliance-software; chmod -R go-w /var/lib/appliance-software"
    )
    assert "no owner" in ownerless["finding"]
    assert "appliance provision" in ownerless["remedy"]


def test_a_damaged_slot_leaves_the_rescue_software_with_its_reason_and_no_restarts(cabinet):
    main = "/var/lib/appliance-software/A/site/appliance/cli/main.py"
    cabinet.run(f"systemctl stop {UNIT}; echo '#' >> {main}; systemctl start {UNIT}")
    found = doctor(cabinet)

    assert end(cabinet) == End("active", "0", "0")
    assert cabinet.show(UNIT, "StatusText")["StatusText"].startswith("RESCUE: ")
    assert "neither can start" in found["slots"]["finding"] or "slot A is damaged" in found["slots"]["finding"]
    assert "appliance update apply MEDIUM" in found["slots"]["remedy"]
    assert not infers(cabinet)


def copied(system: BootedSystem, name: str, change: Any) -> str:
    """Put a copy of a shipped model under another name, its configuration changed, where the machine sees it."""
    package = shutil.copytree(system.shared / "models" / "digits", system.shared / "copies" / name)
    file = package / "model.toml"
    file.write_text(change(file.read_text()))
    return f"/shared/copies/{name}"


def state_of(system: BootedSystem, name: str) -> str:
    models = json.loads(system.run("appliance status --json 2>/dev/null", check=False))["models"]
    return next((model["state"] for model in models if model["name"] == name), "")


def slow_model(package: Path, size: int = 1500) -> None:
    """A model whose execution takes about a second, and its warm-up an hour."""
    sizes = numpy_helper.from_array(np.array([size, size], dtype=np.int64), "sizes")
    products = [helper.make_node("Expand", ["x", "sizes"], ["m0"])]
    products += [helper.make_node("MatMul", [f"m{step}", f"m{step}"], [f"m{step + 1}"]) for step in range(8)]
    last = helper.make_node("ReduceMean", ["m8"], ["y"], keepdims=0)
    graph = helper.make_graph(
        [*products, last],
        "slow",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])],
        [sizes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (package / "1").mkdir(parents=True)
    onnx.save(model, package / "1" / "model.onnx")
    (package / "model.toml").write_text(
        'licence = "Apache-2.0"\nmax_batch_size = 0\n[[model_warmup]]\nname = "long"\ncount = 3600\n'
        '[model_warmup.inputs.x]\ndata_type = "TYPE_FP32"\ndims = [1, 1]\nzero_data = true\n'
    )
