"""`appliance support-bundle` on a machine of its own: the real journal, incidents, slots, and an ordinary user."""

import json
import shutil

import pytest

from tests.support.canaries import Canary, leaked, unpacked
from tests.system.booted_system import BootedSystem
from tests.system.installed import SITE, UNIT, wait_ready

pytestmark = [pytest.mark.slow, pytest.mark.root]

# Puts words where a request can have them; every one of these requests but the first is refused.
TROUBLE = """
import json, sys
sys.path.insert(0, "{site}")
import grpc
from appliance.rpc.pb import grpc_service_pb2 as pb
secret = {secret!r}
channel = grpc.insecure_channel("127.0.0.1:8001")
def call(method, message):
    try:
        channel.unary_unary("/inference.GRPCInferenceService/" + method)(message.SerializeToString(), timeout=30)
    except grpc.RpcError as error:
        print(error.code().name)
call("ModelInfer", pb.ModelInferRequest(model_name=secret))
call("ModelInfer", pb.ModelInferRequest(model_name="digits", id=secret, raw_input_contents=[secret.encode()]))
load = pb.RepositoryModelLoadRequest(model_name="digits")
odd = [{{"name": secret, "data_type": "TYPE_FP32", "dims": [1]}}]
load.parameters["config"].string_param = json.dumps({{"max_batch_size": 0, "input": odd}})
call("RepositoryModelLoad", load)
"""


def bundled(system: BootedSystem, *words: str) -> dict[str, bytes]:
    """Make a bundle in the machine and unpack it here."""
    out = system.shared / "bundle.tar.gz"
    out.unlink(missing_ok=True)
    system.run(f"appliance support-bundle --out /shared/bundle.tar.gz {' '.join(words)}")
    return unpacked(out)


def told(files: dict[str, bytes], name: str) -> dict[str, str]:
    members = {member["name"]: member for member in json.loads(files["manifest.json"])["members"]}
    member: dict[str, str] = members[name]
    return member


def test_it_holds_the_journal_of_the_units_the_slot_record_and_the_state_of_the_units(cabinet):
    files = bundled(cabinet)
    units = {unit["Id"]: unit for unit in json.loads(files["units.json"])}
    journal = files["journal.txt"].decode()

    assert [name for name in told(files, "journal.txt") if name in ("missing", "cut")] == []
    assert "appliance.service" in journal
    assert "appliance.daemon.life_signs: READY: serving" in journal
    assert "starting software " in journal
    assert units[UNIT]["ActiveState"] == "active"
    assert "appliance-scrub.timer" in units
    assert "Environment" not in units[UNIT]
    slots = json.loads(files["versions.json"])["slots"]
    assert slots["current"] == "A"
    assert slots["slots"]["A"]["version"]
    assert slots["run"]["ready"] is True
    assert json.loads(files["status.json"])["slots"]["running"] == "A"


def test_what_requests_said_is_in_the_journal_of_the_machine_and_not_in_the_bundle(cabinet):
    canary = Canary.new("a word of a request")
    (cabinet.shared / "trouble.py").write_text(TROUBLE.format(site=SITE, secret=canary.text))
    said = cabinet.run("/usr/bin/python3 -I -B /shared/trouble.py").split()
    journal = cabinet.run(f"journalctl --unit {UNIT} --no-pager --all").encode()
    files = bundled(cabinet)

    assert len(said) == 3
    assert canary.is_in(journal)  # so there was something to take out
    assert leaked([canary], files) == []
    assert b"the configuration names input '(withheld)'" in files["journal.txt"]


def test_a_large_journal_is_cut_at_its_beginning(cabinet):
    # Below what the journal takes of one unit in half a minute.
    noise = "seq -f 'line number %.0f of the noise that a journal is full of, over and over and over again' 9000"
    (cabinet.shared / "noise").write_text(noise)
    start = "systemd-run --unit=appliance-noise --wait --quiet --collect /bin/sh /shared/noise"
    cabinet.run(start, timeout_s=300)
    cabinet.run("journalctl --sync")
    files = bundled(cabinet, "--max-mb", "1")

    assert sum(len(data) for name, data in files.items() if name) <= 1_000_000
    assert b"line number 9000 of" in files["journal.txt"]
    assert b"line number 1 of" not in files["journal.txt"]
    assert told(files, "journal.txt")["cut"].startswith("the oldest ")
    recent = bundled(cabinet, "--since", "2099-01-01")
    assert recent["journal.txt"] == b""


def test_an_ordinary_user_is_told_what_he_may_not_read(cabinet):
    shared = cabinet.shared / "nobody"
    shared.mkdir(exist_ok=True)
    shutil.chown(shared, 65534, 65534)
    status = cabinet.status_of(
        "setpriv --reuid=65534 --regid=65534 --clear-groups appliance support-bundle --out /shared/nobody/b.tar.gz"
        " 2> /shared/story"
    )
    assert status == 0, (cabinet.shared / "story").read_text()
    files = unpacked(shared / "b.tar.gz")

    assert "cannot be read by this user" in told(files, "journal.txt")["missing"]
    assert "missing" in told(files, "models.json")
    assert json.loads(files["units.json"])


def test_a_service_that_failed_leaves_its_record_in_the_bundle_without_a_daemon(cabinet):
    cabinet.run(
        "cp /etc/appliance/appliance.toml /shared/kept && echo 'nonsense = [' > /etc/appliance/appliance.toml"
    )
    cabinet.run(f"systemctl restart {UNIT}", check=False)
    cabinet.wait_until(
        lambda: cabinet.status_of("ls /var/log/appliance/incident-*.txt") == 0, "the failure is written down"
    )
    files = bundled(cabinet)
    cabinet.run(f"cp /shared/kept /etc/appliance/appliance.toml && systemctl restart {UNIT}")
    wait_ready(cabinet)

    assert b"unit: appliance.service" in files["incidents.txt"]
    assert b"ExecMainStatus=78" in files["incidents.txt"]
    assert b"error: settings file" in files["incidents.txt"]
    assert "it is not valid TOML" in json.loads(files["settings.json"])["operator"]["problem"]
    assert json.loads(files["status.json"])["state"] == "UNREACHABLE"
