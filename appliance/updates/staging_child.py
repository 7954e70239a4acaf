"""The process in which content comes from a medium into the blobs, or from there into a slot: see staging_process.py.

One order on standard input, as a line of JSON; lines of JSON on standard output, the last of which is the outcome.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from appliance.bundle.oci_layers import ItemFile, Part
from appliance.bundle.refusal import UpdateRefused
from appliance.bundle.software_item import SoftwareItem
from appliance.durable import is_lack_of_room
from appliance.errors import ApplianceError, InvalidInput
from appliance.model.identity import Digest, parse_digest
from appliance.slots.record import SlotName
from appliance.state_layout import StateLayout
from appliance.updates.content_bringer import bring_here
from appliance.updates.medium import Medium
from appliance.updates.slot_filler import fill_here

_NICENESS = 19  # only what nobody else wants


def main() -> None:
    """Carry out one order."""
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_lifeline, name="lifeline", daemon=True).start()
    os.nice(_NICENESS)
    try:
        _carry_out(order, StateLayout(Path(order["state"])))
        _say({"done": True})
    except UpdateRefused as refused:
        facts = dict(refused.facts)
        _say({"refused": refused.reason.value, "message": refused.message, "hint": refused.hint, "facts": facts})
    except InvalidInput as error:
        _say({"invalid": error.message, "hint": error.hint})
    except ApplianceError as error:
        _say({"failed": error.message, "hint": error.hint, "no_room": is_lack_of_room(error)})


def _carry_out(order: dict[str, Any], layout: StateLayout) -> None:
    if "slot" in order:
        item = SoftwareItem.parse(order["item"].encode())
        fill_here(layout, SlotName(order["slot"]), item, lambda done: _say({"files": done}))
        return
    with Medium.open(Path(order["place"]), order["bundle"]) as medium:
        bring_here(layout, medium, [_file(each) for each in order["files"]], _advance)


def _end_with_the_lifeline() -> None:
    sys.stdin.read()
    os._exit(1)


def _advance(digest: Digest, more_bytes: int) -> None:
    _say({"digest": digest, "bytes": more_bytes})


def _say(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def _file(document: dict[str, Any]) -> ItemFile:
    parts = tuple(Part(parse_digest(digest), size_bytes) for digest, size_bytes in document["parts"])
    return ItemFile(parse_digest(document["digest"]), document["size_bytes"], parts)
