"""What changes the slots, in children that kill themselves (SIGKILL) before their N-th file operation.

Run as `python -m tests.slots.kill_driver`; one JSON request per line, one answer per line (kill_points).
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from appliance.slots.arming import arm, back, keep, note_ready, refuse
from appliance.slots.choice import ended
from appliance.slots.filling import Expected, fill_from_archive
from appliance.slots.places import Places
from appliance.slots.record import SlotName
from appliance.slots.starting import prepare_start
from tests.support.kill_points import killed_before


def places_of(root: Path) -> Places:
    return Places(root / "state", root / "rescue", root / "runtime", root / "boot_id")


def fill(places: Places, request: dict[str, Any]) -> None:
    with Path(request["archive"]).open("rb") as archive:
        fill_from_archive(places.slots, SlotName.B, archive, Expected(request["tree"], 1 << 24, 1 << 24, 99))


OPERATIONS: dict[str, Callable[[Places, dict[str, Any]], object]] = {
    "fill": fill,
    "arm": lambda places, _: arm(places.slots, SlotName.B, "sha256:1", ("digits",)),
    "start": lambda places, _: prepare_start(places, [], lambda _: None),
    "ready": lambda places, _: note_ready(places.slots),
    "ended": lambda places, _: places.slots.change(lambda record: ended(record, "it ended", counts=True)),
    "keep": lambda places, _: keep(places.slots),
    "refuse": lambda places, _: refuse(places.slots, "golden answers differ"),
    "back": lambda places, _: back(places.slots, "the operator wants it"),
}


def prepared(request: dict[str, Any]) -> Callable[[], object]:
    act = OPERATIONS[request["operation"]]
    return lambda: act(places_of(Path(request["root"])), request)


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        print(killed_before(request["at"], lambda request=request: prepared(request)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
