"""A stick that is plugged in while nobody is there: looked at, and installed only where the settings let it be."""

import json

import pytest

from appliance.bundle.ticket import Devices
from appliance.publish.cutting import CutRequest
from tests.cli.terminal import appliance
from tests.updates.boxes import KEEPS, ONE, PUBLISHER, SERIAL, write_model
from tests.updates.conftest import box, ceremony, publisher  # noqa: F401  (fixtures)

pytestmark = pytest.mark.slow
AUTO = {"APPLIANCE_UPDATES_AUTO_APPLY": "signed-for-this-device"}


@pytest.fixture
def plugged_in(publisher, box):  # noqa: F811
    """Cut a bundle for some boxes, plug it in, and return the exit status and what was said."""

    def plug_in(devices: Devices, **environment: str):
        publisher.add(write_model(publisher.directory / "packages", 1))
        items = (f"models/{PUBLISHER}/{KEEPS}/1.json",)
        stick = publisher.cut("stick", CutRequest(devices, items=items))
        environment["APPLIANCE_RUNTIME_DIRECTORY"] = str(box.runtime)
        done = appliance("update", "arrived", stick, "--state", box.layout.root, "--json", environment=environment)
        receipts = [json.loads(path.read_text())["receipt"] for path in sorted((stick / "RECEIPTS").iterdir())]
        return done.code, json.loads(done.out), receipts

    return plug_in


def test_by_itself_a_box_only_looks_and_says_so_on_the_stick(plugged_in, box):  # noqa: F811
    code, outcome, receipts = plugged_in(Devices(serials=(SERIAL,)))

    assert (code, outcome["result"]) == (0, "ACCEPTABLE")
    assert "waits for a person: updates.auto_apply is 'never'" in outcome["message"]
    assert [receipt["result"] for receipt in receipts] == ["ACCEPTABLE"]
    assert box.desired() is None


def test_where_the_settings_let_it_a_box_installs_what_names_it(plugged_in, box):  # noqa: F811
    code, outcome, receipts = plugged_in(Devices(serials=("B2", SERIAL)), **AUTO)

    assert (code, outcome["result"]) == (0, "INSTALLED")
    assert [receipt["result"] for receipt in receipts] == ["INSTALLED"]
    assert box.desired() == ONE


@pytest.mark.parametrize("devices", [Devices(all=True), Devices(groups=("hall-1",))])
def test_a_bundle_for_many_waits_for_a_person_whatever_the_settings_say(plugged_in, box, devices):  # noqa: F811
    code, outcome, _ = plugged_in(devices, **AUTO)

    assert (code, outcome["result"]) == (0, "ACCEPTABLE")
    assert "does not name this box by its serial number" in outcome["message"]
    assert box.desired() is None


def test_a_bundle_for_another_box_is_refused_and_that_is_said_on_the_stick(plugged_in, box):  # noqa: F811
    code, outcome, receipts = plugged_in(Devices(serials=("B2",)), **AUTO)

    assert (code, outcome["result"]) == (26, "WRONG_DEVICE")
    assert [receipt["result"] for receipt in receipts] == ["WRONG_DEVICE"]
    assert box.desired() is None
