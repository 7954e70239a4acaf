"""`appliance support-bundle`: what is in it, what never is, and that there is a whole file or none."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from onnx import helper

from appliance.cli.support_parts import STATUS
from appliance.daemon.flat_settings import flat
from appliance.maintenance.support.allow_list import Allowed
from appliance.maintenance.support.settings_part import ALLOWED
from appliance.maintenance.support.wording import Speaker, Wording
from appliance.model.identity import ModelName, ModelVersion
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.records import Suspect
from appliance.rpc.pb import appliance_admin_pb2 as admin_pb
from appliance.rpc.pb import grpc_service_pb2 as pb
from appliance.settings import Settings
from appliance.state_layout import StateLayout
from appliance.updates.audit_entry import AuditEvent
from appliance.updates.audit_log import AuditLog
from appliance.updates.box import utc_now
from tests.cli.conftest import write_package
from tests.cli.terminal import ROOT, Terminal, appliance, clean_environment
from tests.rpc.wire import Parameter, infer, refusal, request, tensor
from tests.support.canaries import Canary, leaked, unpacked
from tests.support.onnx_models import tensor as onnx_tensor
from tests.support.onnx_models import write_graph
from tests.updates.first_roots import root_file

NOBODY = 65534
MARKER = "a-name-that-may-leave"
PICKED = 777_123_456_789  # an index in a request that a model refuses, and ONNX Runtime tells the world
SAME = """
backend = "reference"
max_batch_size = 0
input = [{ name = "x", data_type = "TYPE_STRING", dims = [-1] }]
output = [{ name = "y", data_type = "TYPE_STRING", dims = [-1] }]
"""
TWICE = """
backend = "reference"
max_batch_size = 8
input = [{ name = "x", data_type = "TYPE_FP32", dims = [2] }]
output = [{ name = "y", data_type = "TYPE_FP32", dims = [2] }]
"""
# What is imported late is imported while root may still read it.
BECOME_NOBODY = f"""
import json, os, sys
from appliance.cli.main import app
words = ["support-bundle", *json.loads(sys.argv[1])]
app([*words, "--preview"], standalone_mode=False)
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
app(words, standalone_mode=False)
"""
EVERYTHING = {
    *("audit.jsonl", "device.json", "disks.json", "doctor.json", "incidents.txt", "journal.txt", "models.json"),
    *("settings.json", "status.json", "units.json", "updates.json", "versions.json"),
}


@pytest.fixture
def box(terminal: Terminal, tmp_path: Path) -> Terminal:
    """A box that was given its owner, with a model in its registry."""
    terminal.appliance("models", "add", write_package(tmp_path / "twice", TWICE))
    terminal.appliance("models", "activate", "twice", "1")
    seal(terminal, tmp_path)
    return terminal


def seal(terminal: Terminal, scratch: Path) -> Canary:
    """Give the box its owner; returns the secret that is the box's own from then on."""
    (scratch / "root.json").write_bytes(root_file())
    named = ("--serial", "BOX-7", "--hardware", "pc", "--site", "hall-1")
    terminal.appliance("provision", "--root", scratch / "root.json", *named)
    key = (terminal.state / "device" / "receipt.key").read_bytes()
    return Canary("the key that signs receipts", key.splitlines()[1])


def bundled(terminal: Terminal, out: Path, *words: str | Path, **options: object) -> dict[str, bytes]:
    """Make a bundle and unpack it."""
    made = terminal.appliance("support-bundle", "--out", out, "--json", *words, **options).json
    return unpacked(Path(made["file"]))


def missing(files: dict[str, bytes]) -> dict[str, str]:
    members = json.loads(files["manifest.json"])["members"]
    return {member["name"]: member["missing"] for member in members if "missing" in member}


def write_models(place: Path) -> Path:
    """A model that gives strings back, and one of ONNX Runtime that refuses what it is given."""
    write_package(place / "same", SAME)
    table = {"table": np.arange(4, dtype=np.float32)}
    write_graph(
        place / "pick" / "1" / "model.onnx",
        [helper.make_node("Gather", ["table", "INPUT0"], ["OUTPUT0"])],
        [onnx_tensor("INPUT0", "INT64", ["N"])],
        [onnx_tensor("OUTPUT0", "FP32", ["N"])],
        table,
    )
    return place


def strings(*values: bytes) -> bytes:
    return b"".join(len(value).to_bytes(4, "little") + value for value in values)


def ask_for_trouble(channel: grpc.Channel, canaries: list[Canary]) -> None:
    """Put a canary everywhere in requests: those that are answered, and those that are refused."""
    payload, name, parameter, identity = (Canary.new(what) for what in ("payload", "name", "parameter", "request id"))
    overriding = Canary.new("configuration of a load")
    canaries += [payload, name, parameter, identity, overriding]
    inputs = [tensor("x", "BYTES", (1,))]
    told = {"note": Parameter(string_param=parameter.text)}
    answered = request("same", inputs, [strings(payload.secret)], parameters=told, id=identity.text)
    assert payload.secret in infer(channel, answered).raw_output_contents[0]
    refused = [
        request(name.text, inputs, [strings(payload.secret)]),
        request("same", [tensor(name.text, "BYTES", (1,))], [strings(payload.secret)], parameters=told),
        request("same", [tensor("x", payload.text, (1,))], [strings(payload.secret)], id=identity.text),
        request("same", inputs, [payload.secret]),
        request("same", inputs, [strings(payload.secret)], outputs=[name.text]),
        request("same", inputs, [strings(payload.secret)], parameters={"timeout": told["note"]}),
        request("pick", [tensor("INPUT0", "INT64", (1,))], [np.array([PICKED], np.int64).tobytes()]),
    ]
    for message in refused:
        refusal(channel, "ModelInfer", message.SerializeToString())
    refusal(channel, "ModelInfer", b"\xff" + payload.secret)
    load = pb.RepositoryModelLoadRequest(model_name="pick")
    load.parameters["config"].string_param = json.dumps(
        {"max_batch_size": 0, "input": [{"name": overriding.text, "data_type": "TYPE_FP32", "dims": [1]}]}
    )
    refusal(channel, "RepositoryModelLoad", load.SerializeToString())


def hide_on_disk(state: Path, canaries: list[Canary]) -> None:
    """Put secrets where a box keeps them, or may come to keep them."""
    places = ("device/tls.key", "tls/server.key", "credentials/token", "backup.passphrase", "blobs/partial/weights")
    for place in places:
        canary = Canary.new(place)
        (state / place).parent.mkdir(parents=True, exist_ok=True)
        (state / place).write_bytes(canary.secret)
        canaries.append(canary)


@pytest.mark.slow
def test_nothing_of_requests_keys_environment_and_unknown_settings_is_in_a_bundle(
    terminal: Terminal, tmp_path: Path
) -> None:
    canaries = [unknown := Canary.new("an unknown setting"), variable := Canary.new("a variable")]
    config = tmp_path / "appliance.toml"
    config.write_text(
        f'[server]\nname = "{MARKER}"\npassword = "{unknown.text}"\n[canary]\nkey = ["{unknown.text}"]\n'
        f'deep = [{{ inner = "{unknown.text}" }}]\n'
    )
    options = ("--config", config)
    secrets = {"CANARY_TOKEN": variable.text, "HTTPS_PROXY": f"http://user:{variable.text}@proxy"}
    for model in write_models(tmp_path / "models").iterdir():
        terminal.appliance("models", "add", model)
        terminal.appliance("models", "activate", model.name, "1")

    with terminal.daemon():
        with grpc.insecure_channel(f"unix:{terminal.state}/run/appliance.sock") as channel:
            ask_for_trouble(channel, canaries)
        hide_on_disk(terminal.state, canaries)
        files = bundled(terminal, tmp_path / "serving.tar.gz", *options, environment=secrets)
    log = (terminal.state / "daemon.log").read_text()
    canaries.append(seal(terminal, tmp_path))
    sealed = bundled(terminal, tmp_path / "sealed.tar.gz", *options, environment=secrets)
    # On a box the journal has what this daemon wrote to its standard error.
    journal = {"log": "\n".join(Wording().cleaned(log, Speaker.SERVICE)).encode()}
    picked = Canary("an index that a model refused", str(PICKED).encode())
    canaries.append(picked)

    assert set(files) == {"", "MANIFEST.txt", "manifest.json"} | EVERYTHING - set(missing(files))
    assert leaked(canaries, files | journal) == []
    assert leaked(canaries, sealed) == []
    assert MARKER.encode() in files["settings.json"]
    assert json.loads(files["status.json"])["state"] == "READY"
    assert json.loads(sealed["updates.json"])["sealed"]
    settings = json.loads(files["settings.json"])["operator"]["settings"]
    assert settings["server.password"] == settings["canary.key"] == settings["canary.deep"] == "withheld"
    # The search would have found them: before it is cleaned, the log has one of them.
    assert leaked(canaries, {"raw": log.encode()}) == ["configuration of a load in raw"]


def test_a_box_without_a_daemon_gives_all_but_what_needs_one(box: Terminal, tmp_path: Path) -> None:
    files = bundled(box, tmp_path)
    manifest = json.loads(files["manifest.json"])
    status = json.loads(files["status.json"])
    (archive,) = tmp_path.glob("appliance-support-BOX-7-*.tar.gz")

    assert archive.stat().st_mode & 0o777 == 0o600
    assert set(missing(files)) <= {"journal.txt", "units.json"}
    assert status["state"] == "UNREACHABLE"
    assert "no daemon answered" in status["reason"]
    assert json.loads(files["models.json"])["models"][0]["name"] == "twice"
    assert json.loads(files["updates.json"])["serial"] == "BOX-7"
    assert b"device_provisioned" in files["audit.jsonl"]
    assert "receipt_key" not in json.loads(files["audit.jsonl"].splitlines()[1])["facts"]
    for member in manifest["members"]:
        told = member.get("missing") or f"{member['size_bytes']} bytes, sha256 {member['sha256']}"
        assert member["why"] in files["MANIFEST.txt"].decode()
        assert told in files["MANIFEST.txt"].decode()
        assert "missing" in member or member["size_bytes"] == len(files[member["name"]])


def test_members_and_their_owners_are_the_same_each_time(box: Terminal, tmp_path: Path) -> None:
    lists = []
    for name in ("one.tar.gz", "two.tar.gz"):
        box.appliance("support-bundle", "--out", tmp_path / name)
        with tarfile.open(tmp_path / name) as archive:
            lists.append([(m.name.partition("/")[2], m.mode, m.uid, m.gid, m.uname, m.type) for m in archive])

    assert lists[0] == lists[1]
    assert [entry[0] for entry in lists[0]][:2] == ["MANIFEST.txt", "manifest.json"]
    assert [entry[0] for entry in lists[0]][2:] == sorted(entry[0] for entry in lists[0][2:])
    assert {entry[1:] for entry in lists[0]} == {(0o644, 0, 0, "", tarfile.REGTYPE)}


def test_a_preview_says_the_same_and_writes_nothing(box: Terminal, tmp_path: Path) -> None:
    out = tmp_path / "stick"
    out.mkdir()
    shown = box.appliance("support-bundle", "--preview", "--out", out)
    planned = box.appliance("support-bundle", "--preview", "--json").json
    made = json.loads(bundled(box, tmp_path)["manifest.json"])

    assert list(out.iterdir()) == []
    assert [member["name"] for member in planned["members"]] == [member["name"] for member in made["members"]]
    assert all(member["name"] in shown.out for member in planned["members"])
    assert shown.widest <= 80


@pytest.mark.slow
def test_a_long_log_is_cut_at_its_beginning_and_the_size_holds(box: Terminal, tmp_path: Path) -> None:
    log = AuditLog(box.state / "audit", utc_now, segment_bytes=64 * 1024 * 1024)
    for number in range(1500):
        log.append(AuditEvent.MODEL_ACTIVATED, {"model": f"model-{number}", "reason": "a" * 900})
    files = bundled(box, tmp_path, "--max-mb", "1")
    entries = files["audit.jsonl"].splitlines()
    (told,) = [each for each in json.loads(files["manifest.json"])["members"] if each["name"] == "audit.jsonl"]

    assert sum(len(data) for name, data in files.items() if name) <= 1_000_000
    assert b"model-1499" in entries[-1]
    assert b"model-0" not in files["audit.jsonl"]
    assert told["cut"] == f"the oldest {1501 - len(entries) + 1} of 1501 entries"


def test_damaged_records_are_named_and_the_rest_is_there(box: Terminal, tmp_path: Path) -> None:
    database = box.state / "registry.db"
    database.write_bytes(b"this is no database" + database.read_bytes()[19:])
    (box.state / "device" / "identity.json").write_text("{")
    files = bundled(box, tmp_path)

    assert {"models.json", "updates.json"} <= set(missing(files))
    assert "versions.json" in files
    assert b"error" in files["doctor.json"]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_gets_what_he_may_read_and_the_names_of_the_rest(box: Terminal) -> None:
    box.state.chmod(0o700)
    home = box.state.with_name(f"{box.state.name}-nobody")
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    child = [sys.executable, "-c", BECOME_NOBODY, json.dumps(["--out", str(home)])]
    environment = clean_environment() | {"APPLIANCE_STATE_DIRECTORY": str(box.state)}
    try:
        done = subprocess.run(
            child, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        (archive,) = home.iterdir()
        owner, files = archive.stat().st_uid, unpacked(archive)
    finally:
        shutil.rmtree(home)

    assert owner == NOBODY
    assert {"models.json", "audit.jsonl", "updates.json"} <= set(missing(files))
    assert "versions.json" in files
    assert "Permission denied" in files["MANIFEST.txt"].decode()


@pytest.mark.root
def test_a_full_disk_leaves_no_half_bundle(box: Terminal, small_disk: Path) -> None:
    (small_disk / "filling").write_bytes(bytes(1024 * 1024 - 4096))  # room for a part of it
    result = box.appliance("support-bundle", "--out", small_disk, code=1)

    assert [path.name for path in small_disk.iterdir()] == ["filling"]
    assert "No space left" in result.story
    assert "--out DIR" in result.story


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_where_nothing_can_be_written_another_place_is_asked_for(box: Terminal, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    result = box.appliance("support-bundle", "--out", small_disk, code=1)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)

    assert "nothing can be written to" in result.story
    assert "appliance support-bundle --out DIR" in result.story
    assert "collecting" not in result.story


def test_a_place_that_is_not_there_and_a_file_that_is_are_refused(box: Terminal, tmp_path: Path) -> None:
    (tmp_path / "there.tar.gz").write_bytes(b"kept")
    nowhere = box.appliance("support-bundle", "--out", tmp_path / "none" / "x.tar.gz", code=1)
    there = box.appliance("support-bundle", "--out", tmp_path / "there.tar.gz", code=1)

    assert "there is no directory" in nowhere.story
    assert "is there already" in there.story
    assert (tmp_path / "there.tar.gz").read_bytes() == b"kept"


@pytest.mark.skipif(shutil.which("journalctl") is None, reason="no journalctl to ask")
def test_a_time_that_is_none_is_wrong_usage() -> None:
    result = appliance("support-bundle", "--preview", "--since", "when it broke")

    assert result.code == 2
    assert "--since '1 hour ago'" in result.story


def test_the_settings_that_may_be_shown_are_settings() -> None:
    assert set(flat(Settings())) >= ALLOWED


def test_versions_that_were_executing_when_the_service_died_are_named(box, tmp_path):
    name, version = ModelName("twice"), ModelVersion(1)
    with ModelRegistry.open(StateLayout(box.state)) as registry:
        digest = registry.version(name, version).digest
        registry.crash_guard.write_down([Suspect("1-1", name, version, digest, hung=False)], "this boot", 60.0)
    files = bundled(box, tmp_path / "out")

    (listed,) = json.loads(files["models.json"])["ended_the_service"]
    (shown,) = json.loads(files["status.json"])["crashes"]
    assert (listed["name"], listed["version"], len(listed["times"]), listed["refused"]) == ("twice", 1, 1, False)
    assert (shown["name"], shown["count"], "withheld" in shown) == ("twice", 1, False)


def test_every_field_that_may_be_shown_of_the_daemons_answer_is_one() -> None:
    assert unknown_fields(STATUS, admin_pb.StatusResponse.DESCRIPTOR) == ["reason"]  # added where no daemon answered


def unknown_fields(allowed: Mapping[str, Allowed], message: Descriptor) -> list[str]:
    """Name what a list allows and the message does not have, below it too."""
    fields = message.fields_by_name
    unknown = [name for name in allowed if name not in fields]
    for name, inner in allowed.items():
        if name in fields and isinstance(inner, Mapping) and not is_map(fields[name]):
            unknown += [f"{name}.{each}" for each in unknown_fields(inner, fields[name].message_type)]
    return unknown


def is_map(field: FieldDescriptor) -> bool:
    return bool(field.message_type.GetOptions().map_entry)
