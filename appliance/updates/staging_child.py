"""The process in which content comes from a medium into the blobs: see staging_process.py.

One order on standard input, as a line of JSON; lines of JSON on standard output, the last of which is the outcome.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from appliance.bundle.oci_layers import ItemFile, Part
from appliance.model.identity import Digest, parse_digest
from appliance.state_layout import StateLayout
from appliance.updates.content_bringer import bring_here
from appliance.updates.medium import Medium
from appliance.updates.order_lines import answer

_NICENESS = 19  # only what nobody else wants


def main() -> None:
    """Carry out one order."""
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_lifeline, name="lifeline", daemon=True).start()
    os.nice(_NICENESS)
    answer(lambda: _carry_out(order, StateLayout(Path(order["state"]))), _say)


def _carry_out(order: dict[str, Any], layout: StateLayout) -> None:
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
