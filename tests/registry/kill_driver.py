"""Performs registry operations in children that kill themselves (SIGKILL) before their N-th file operation.

Run as `python -m tests.registry.kill_driver`; one JSON request per line, one answer per line (kill_points).
"""

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from appliance.errors import NotFound
from appliance.registry.database import Database
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.part_assembly import forget_partial
from appliance.registry.rebuild import Trust
from appliance.registry.registry_source import RegistrySource
from appliance.registry.ticket_records import TicketState
from appliance.state_layout import StateLayout
from tests.registry.bundles import Parts, is_signed_by, item_of, prepare, signed, stage, ticket
from tests.registry.packages import DIGITS, ONE, TWO, accept, add
from tests.support.kill_points import killed_before

SIGNED = ("install", "confirm", "restore", "scrub", "heal", "rebuild")


def at_fifty() -> float:
    """A clock that does not tell lives apart."""
    return 50.0


def perform_signed(operation: str, layout: StateLayout, package: Path) -> None:
    """What a bundle brings, and the upkeep of it. Each can be repeated, as the installer repeats it."""
    parts = Parts()
    item = item_of(package, parts)
    record = ticket(2, {DIGITS: TWO}, {DIGITS: ONE})
    if operation == "rebuild":
        Database(layout.database).set_aside()
    with ModelRegistry.open(layout, clock=at_fifty) as registry:
        match operation:
            case "install":
                forget_partial(layout.partial_blobs, keep=[file.digest for file in item.files.values()])
                prepared = prepare(registry, item, parts)
                if registry.ticket(record.digest) is None:
                    registry.install([prepared], [signed(item, record)], record.desired, record)
            case "confirm":
                registry.finish_ticket(record.digest, TicketState.CONFIRMED, "")
            case "restore":
                registry.restore(record.digest, "did not come up")
            case "scrub":
                registry.scrub()
            case "heal":
                registry.keep_documents(item)
                stage(registry, item, parts)
                registry.healed(registry.quarantined())
            case "rebuild":
                listed = is_signed_by(item)
                trust = Trust(lambda target, sha256: (target, sha256) in listed, ("acme",))
                registry.rebuild(lambda _: accept, trust)
            case _:
                raise AssertionError(operation)


def perform(operation: str, layout: StateLayout, package: Path) -> None:
    with ModelRegistry.open(layout) as registry:
        match operation:
            case "open":
                pass
            case "add":
                add(registry, package)
            case "activate":
                registry.activate(DIGITS, TWO)
            case "remove":
                with contextlib.suppress(NotFound):  # killed after the COMMIT, before the end
                    registry.remove(DIGITS, ONE)
            case "gc":
                registry.collect_garbage()
            case "verify":
                source = RegistrySource(registry)
                source.verify(source.scan()[DIGITS].versions[ONE])
            case "load":
                registry.crash_guard.load_started(DIGITS, TWO)
            case _:
                raise AssertionError(operation)


def run_in_child(request: dict[str, Any]) -> str:
    layout, package = StateLayout(Path(request["state"])), Path(request["package"])
    operation = request["operation"]
    act = perform_signed if operation in SIGNED else perform
    return killed_before(request["at"], lambda: lambda: act(operation, layout, package))


def main() -> None:
    for line in sys.stdin:
        print(run_in_child(json.loads(line)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
