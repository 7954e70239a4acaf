import json
from dataclasses import replace

from appliance.maintenance.support.machine import versions_content
from appliance.slots.places import Places
from appliance.slots.record import SlotName, SlotRecord
from tests.slots.trees import make_tree


def test_the_versions_name_the_slots_and_the_rescue_software_of_the_places(tmp_path):
    places = Places(tmp_path / "state", tmp_path / "rescue")
    make_tree(places.rescue)
    assert json.loads(versions_content(places).data)["slots"] == {"installed": False}
    record = SlotRecord()
    slot = replace(record.slots[SlotName.B], tree="a" * 64, version="0.2.0")
    places.slots.write(record.with_slot(SlotName.B, slot, current=SlotName.B))

    versions = json.loads(versions_content(places).data)

    assert versions["slots"]["current"] == "B"
    assert versions["slots"]["slots"]["B"]["version"] == "0.2.0"
    assert versions["rescue"] == "0.1.0"
