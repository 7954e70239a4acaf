"""Commands of a signing station in children that kill themselves (SIGKILL) before their N-th file operation.

Run as `python -m tests.publish.kill_driver`; one JSON request per line, one answer per line (kill_points).
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from appliance.bundle.ticket import Devices
from appliance.publish.cutting import CutRequest, cut
from appliance.publish.key_changes import role_keys, rotate_key
from tests.support.kill_points import killed_before
from tests.updates.boxes import Publisher, silent, write_model


def prepared(request: dict[str, Any]) -> Callable[[], object]:
    publisher = Publisher(Path(request["directory"]))
    match request["operation"]:
        case "ceremony":
            return publisher.hold_ceremony
        case "add":
            package = write_model(publisher.directory / "packages" / str(request["at"]), 2)
            return lambda: publisher.add(package)
        case "cut":
            place = Path(request["place"])
            return lambda: perform_cut(publisher, place)
        case "replace":
            place = Path(request["place"])
            return lambda: perform_cut(publisher, place, replace=True)
        case "rotate":
            return lambda: perform_rotation(publisher)
        case other:
            raise AssertionError(other)


def perform_cut(publisher: Publisher, place: Path, *, replace: bool = False) -> None:
    with publisher.opened() as station:
        cut(station, CutRequest(Devices(all=True)), place, silent, replace=replace)


def perform_rotation(publisher: Publisher) -> None:
    with publisher.opened() as station:
        rotate_key(station, "targets", role_keys(station)["targets"][0][0])


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        print(killed_before(request["at"], lambda request=request: prepared(request)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
