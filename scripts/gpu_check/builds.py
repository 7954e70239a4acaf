"""Engines: built once, found in the cache the second time. Done with the command that an operator types."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.errors import ApplianceError
from gpu_check.command import ask_appliance
from gpu_check.finding import Finding, failed, not_run, passed
from gpu_check.packages import Workload

BUILD, CACHE = "engine built", "engine found in the cache"


@dataclass(frozen=True, slots=True)
class Target:
    """For what engines are built. `compute_capability`: '' for the GPU of this machine."""

    state: Path
    compute_capability: str = ""

    @property
    def described(self) -> str:
        """In a sentence."""
        return f"for compute capability {self.compute_capability}" if self.compute_capability else "on this GPU"


def check_builds(workload: Workload, target: Target, say: Callable[[str], None]) -> Iterator[Finding]:
    """Build an engine of every model, then ask for it again."""
    for name in workload.names:
        say(f"{name}: building an engine {target.described}")
        yield from _check_build(workload, target, name)
    for name, why in workload.missing.items():
        yield not_run(BUILD, name, why)


def _check_build(workload: Workload, target: Target, name: str) -> Iterator[Finding]:
    try:
        first = build_facts(workload, target, name)
    except ApplianceError as error:
        yield failed(BUILD, name, error.message)
        yield not_run(CACHE, name, "no engine was built")
        return
    if first["cached"]:
        yield failed(BUILD, name, "it was in the cache before it was built", goal="cached: false")
    else:
        found = f"{first['size_bytes'] / 1e6:.1f} MB in {first['build_s']:.1f} s, {target.described}"
        yield passed(BUILD, name, f"{found}; the build took {first['build_peak_bytes'] / 1e6:.0f} MB")
    try:
        second = build_facts(workload, target, name)
    except ApplianceError as error:
        yield failed(CACHE, name, error.message, goal="cached: true")
        return
    same = second["cached"] and second["digest"] == first["digest"] and second["key"] == first["key"]
    if same:
        yield passed(CACHE, name, f"the same engine, {second['digest'][:19]}", "cached: true")
    else:
        yield failed(CACHE, name, "it was built again", goal="cached: true")


def build_facts(workload: Workload, target: Target, name: str) -> dict[str, Any]:
    """Have an engine built, or found; return what `appliance engines build --json` says of it. Raises Failed."""
    words: list[str | Path] = ["engines", "build", name, "--models", workload.folder, "--state", target.state]
    if target.compute_capability:
        words += ["--compute-capability", target.compute_capability]
    found: dict[str, Any] = ask_appliance(*words)
    return found
