"""Performs registry operations in children that kill themselves (SIGKILL) before their N-th file operation.

Run as `python -m tests.registry.kill_driver`; one JSON request per line, one answer per line (kill_points).
"""

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from appliance.errors import NotFound
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.registry_source import RegistrySource
from appliance.settings import StateLayout
from tests.registry.packages import DIGITS, ONE, TWO, add
from tests.support.kill_points import killed_before


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
                registry.load_started(DIGITS, TWO)
            case _:
                raise AssertionError(operation)


def run_in_child(request: dict[str, Any]) -> str:
    layout, package = StateLayout(Path(request["state"])), Path(request["package"])
    return killed_before(request["at"], lambda: lambda: perform(request["operation"], layout, package))


def main() -> None:
    for line in sys.stdin:
        print(run_in_child(json.loads(line)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
