"""Performs operations of an engine store in children that kill themselves (SIGKILL) before their N-th file operation.

Run as `python -m tests.backends.tensorrt.kill_driver`; one JSON request per line, one answer per line (kill_points).
"""

import json
import sys
from pathlib import Path

from appliance.state_layout import StateLayout
from tests.backends.tensorrt.engines import KEY, keep, opened_store
from tests.support.kill_points import killed_before


def perform(operation: str, layout: StateLayout) -> None:
    with opened_store(layout) as store:
        match operation:
            case "open":
                pass
            case "put":
                keep(store)
            case "find":
                engine = store.find(KEY)
                if engine is not None:
                    engine.close()
            case "prune":
                store.prune(0)
            case "runtime cache":
                store.keep_runtime_cache(KEY, b"kernels")
            case _:
                raise AssertionError(operation)


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        layout = StateLayout(Path(request["state"]))
        operation = request["operation"]
        answer = killed_before(request["at"], lambda: lambda: perform(operation, layout))  # noqa: B023
        print(answer, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
