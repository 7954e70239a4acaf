"""The selector: runs alone, outside every slot, and decides which software the service and the command line are."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from appliance.errors import ApplianceError, Failed
from appliance.sd_notify import SystemdNotifier
from appliance.slots.arming import note_ready
from appliance.slots.choice import ended
from appliance.slots.ending import how_it_ended
from appliance.slots.installing import install_tree
from appliance.slots.places import Places
from appliance.slots.record import SlotName, SlotRecord
from appliance.slots.running import ADOPTION, run_software
from appliance.slots.starting import prepare_start

_PATIENCE_S = 60.0
_COMMANDS = """\
start [ARGS]     systemd's ExecStart: becomes `appliance serve ARGS` of the slot that is chosen
run ARGS         becomes `appliance ARGS` of the software that runs
adopt            becomes what lays signed software into a slot, which is root's: an order on standard input
ready            systemd's ExecStartPost: notes that a start became ready
ended            systemd's ExecStopPost: notes how a start ended
fill TREE        installs a tree: into an empty slot, or on trial beside what runs
status [--json]  what lies in the slots
trial-open       exit status 0 while a trial is open, else 1
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; `start` and `run` do not return."""
    options = _parser().parse_args(arguments)
    places = Places(options.state, options.rescue, options.runtime)
    try:
        match options.command:
            case "start":
                _start(places, options.arguments)
            case "run":
                run_software(places, options.arguments)
            case "adopt":
                run_software(places, [], ADOPTION)
            case "ready" | "ended":
                _note(places, options.command)
            case "fill":
                _say(install_tree(places, _only(options.arguments, "fill TREE"), lambda _: None))
            case "status":
                _show(places, as_json="--json" in options.arguments)
            case "trial-open":
                return 0 if places.slots.read().trial is not None else 1
    except ApplianceError as error:
        _say(f"error: {error.message}")
        _say(f"next: {error.hint or 'appliance doctor'}")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "select.pyz", description=__doc__, epilog=_COMMANDS, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    usual = Places()
    for name in ("state", "rescue", "runtime"):
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", default=getattr(usual, name))
    parser.add_argument(
        "command", choices=["start", "run", "adopt", "ready", "ended", "fill", "status", "trial-open"]
    )
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    return parser


def _start(places: Places, arguments: list[str]) -> NoReturn:
    start = prepare_start(places, arguments, _tell_systemd)
    for line in start.story:
        _say(line)
    sys.stderr.flush()
    os.execv(start.command[0], start.command)  # noqa: S606  (a fixed form, no shell)


def _tell_systemd(status: str) -> None:
    """Show what goes on, and ask for another minute: till the daemon takes over, this is the service's process."""
    notifier = SystemdNotifier(os.environ.get("NOTIFY_SOCKET", ""))
    notifier.status(status)
    notifier.extend_timeout(_PATIENCE_S)


def _note(places: Places, command: str) -> None:
    """Note how a start goes. Nothing in a damaged record: systemd would end the rescue software for that failure."""
    try:
        places.slots.read()
    except Failed as error:
        _say(f"nothing is noted: {error.message}")
        return
    if command == "ready":
        note_ready(places.slots)
    elif places.slots.exists:
        how, counts = how_it_ended(os.environ)
        places.slots.change(lambda record: ended(record, how, counts=counts))


def _show(places: Places, *, as_json: bool) -> None:
    record = places.slots.read()
    if as_json:
        print(json.dumps(asdict(record)))  # noqa: T201  (the result)
        return
    for name in SlotName:
        print(f"{name}: {_slot_line(record, name)}")  # noqa: T201  (as above)
    if record.fallback is not None:
        fallback = record.fallback
        print(f"last fallback: from {fallback.slot} (software {fallback.version}): {fallback.reason}")  # noqa: T201


def _slot_line(record: SlotRecord, name: SlotName) -> str:
    slot = record.slots[name]
    if not slot.tree:
        return "empty"
    marks = [f"software {slot.version}", slot.tree[:16]]
    if name is record.current:
        marks.append("current")
    if record.trial is not None and record.trial.slot is name:
        marks.append(f"on trial, {record.trial.left} starts left")
    if slot.problem:
        marks.append(f"not started any more: {slot.problem}")
    return ", ".join(marks)


def _only(arguments: list[str], usage: str) -> Path:
    if len(arguments) != 1:
        _say(f"usage: select.pyz {usage}")
        sys.exit(2)
    return Path(arguments[0])


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201  (the story)


if __name__ == "__main__":
    sys.exit(main())
