"""Children that kill themselves (SIGKILL) before their N-th file operation, for tests of what is left behind.

Only the child is instrumented: functions of `os` count themselves before they act, SQLite reports each statement
before it runs. A write that is killed has put the first half of its bytes down.
"""

import json
import os
import signal
import sqlite3
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

COUNTED = ("open", "fsync", "fchmod", "link", "rename", "replace", "unlink", "mkdir", "rmdir", "write")


class OperationCounter:
    """Kills this process before operation number `last`, and lists what was done till then."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.done: list[str] = []

    def install(self) -> None:
        for name in COUNTED:
            setattr(os, name, self._counting(name, getattr(os, name)))
        connect = sqlite3.connect

        def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*arguments, **options)
            connection.set_trace_callback(lambda statement: self.step(f"sql {' '.join(statement.split())}"))
            return connection

        sqlite3.connect = traced  # type: ignore[assignment]

    def step(self, what: str, before_death: Callable[[], object] = lambda: None) -> None:
        if len(self.done) + 1 == self.last:
            before_death()
            os.kill(os.getpid(), signal.SIGKILL)
        self.done.append(what)

    def _counting(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            paths = arguments[:2] if name in ("link", "rename", "replace") else arguments[:1]
            what = " ".join((name, *map(_shown, paths)))

            def half() -> None:
                if name == "write":
                    function(arguments[0], bytes(arguments[1][: len(arguments[1]) // 2]))

            self.step(what, half)
            return function(*arguments, **options)

        return counted


def _shown(place: object) -> str:
    return str(Path(f"/proc/self/fd/{place}").readlink()) if isinstance(place, int) else str(place)


def killed_before(at: int, prepare: Callable[[], Callable[[], object]]) -> str:
    """Run what `prepare` returns in a child. Answer 'killed', or the operations when it came through, as JSON."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        counter = OperationCounter(at)
        try:
            with os.fdopen(writer, "w") as stream:  # opened before anything counts
                act = prepare()
                counter.install()
                act()
                done = list(counter.done)
                counter.last = 0
                stream.write(json.dumps(done))
        except Exception:  # noqa: BLE001  # a child of fork: nobody above it may go on
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    return answer or '"killed"'
