"""Updates in children that kill themselves (SIGKILL) before their N-th file operation.

Run as `python -m tests.updates.kill_driver`; one JSON request per line, one answer per line (kill_points).
"""

import contextlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.kill_points import killed_before
from tests.updates.boxes import SealedBox


def prepared(request: dict[str, Any]) -> Callable[[], object]:
    box = SealedBox(Path(request["state"]))
    if request["operation"] == "rollback":
        return box.roll_back
    return lambda: box.apply(Path(request["stick"]), retry=request["operation"] == "retry")


def main() -> None:
    import appliance.updates.verifier  # noqa: F401, PLC0415  (once, not in every child)

    for line in sys.stdin:
        request = json.loads(line)
        with contextlib.redirect_stderr(io.StringIO()):
            answer = killed_before(request["at"], lambda request=request: prepared(request))
        print(answer, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
