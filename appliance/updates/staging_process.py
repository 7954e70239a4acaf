"""Bringing content beside clients: in a process of its own that computes only when nobody else wants to.

In the daemon's process hashing would share the interpreter's lock and the processor with requests: the slowest one in
a hundred then takes ten times as long. A medium that hangs in the kernel hangs this process, and nobody else.

Ownership: the child belongs to the call that started it. Its standard input is its lifeline: closed by a parent that
gives up or dies, the child ends; what arrived stays for the next attempt.
"""

import contextlib
import json
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from appliance.backends.isolated_python import isolated_command
from appliance.bundle.oci_layers import ItemFile
from appliance.errors import Failed
from appliance.model.identity import Digest
from appliance.state_layout import StateLayout
from appliance.updates.content_bringer import Advance
from appliance.updates.medium import Medium
from appliance.updates.order_lines import follow

_CHILD = "appliance.updates.staging_child"
_LONGEST_END_S = 10.0


def bring_beside_clients(layout: StateLayout, medium: Medium, files: Sequence[ItemFile], advance: Advance) -> None:
    """Read, hash and write in a child. Raises as `bring_here`, and Failed if the child dies."""
    if not files:
        return

    def arrived(event: dict[str, Any]) -> None:
        advance(Digest(event["digest"]), event["bytes"])

    _carry_out(_order(layout, medium, files), arrived)


def _carry_out(order: dict[str, Any], advance: Callable[[dict[str, Any]], None]) -> None:
    with subprocess.Popen(
        isolated_command(_CHILD), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as child:
        try:
            _send(child, order)
            _follow(child, advance)
        finally:
            _end(child)


def _send(child: "subprocess.Popen[str]", order: dict[str, Any]) -> None:
    assert child.stdin is not None
    try:
        child.stdin.write(json.dumps(order) + "\n")
        child.stdin.flush()
    except BrokenPipeError:
        pass  # it died at its start: what it says, or does not say, tells more


def _follow(child: "subprocess.Popen[str]", advance: Callable[[dict[str, Any]], None]) -> None:
    assert child.stdout is not None
    if not follow(child.stdout, advance):
        raise Failed(
            f"the process that copies content ended with status {child.wait(_LONGEST_END_S)} and did not say why",
            hint="see what the kernel says: journalctl -k; then apply the update again",
        )


def _end(child: "subprocess.Popen[str]") -> None:
    """Let the child go: its lifeline is cut, and if it does not answer to that, it is killed."""
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        child.stdin.close()
    try:
        child.wait(_LONGEST_END_S)
    except subprocess.TimeoutExpired:
        child.kill()


def _order(layout: StateLayout, medium: Medium, files: Sequence[ItemFile]) -> dict[str, Any]:
    return {
        "state": str(layout.root),
        "place": str(medium.place),
        "bundle": medium.asked_for,
        "files": [
            {
                "digest": file.digest,
                "size_bytes": file.size_bytes,
                "parts": [[part.digest, part.size_bytes] for part in file.parts],
            }
            for file in files
        ],
    }
