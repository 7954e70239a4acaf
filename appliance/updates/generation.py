"""What lies in one generation of trusted metadata, as python-tuf lays it out."""

import json
from pathlib import Path
from typing import Any

ROOT_HISTORY = "root_history"


def root_versions(generation: Path) -> set[int]:
    """Return the numbers of the roots that a generation has."""
    directory = generation / ROOT_HISTORY
    names = [path.name.removesuffix(".root.json") for path in directory.iterdir()] if directory.is_dir() else []
    return {int(name) for name in names if name.isdigit()}


def role_versions(generation: Path) -> dict[str, int]:
    """Return the version of every role but root: the snapshot's own word for all that it vouches for.

    Files of roles that were not needed lately may be older than that: they are read again when they are needed.
    """
    versions = {}
    for role in ("timestamp", "snapshot"):
        path = generation / f"{role}.json"
        if path.exists():
            versions[role] = int(_signed(path)["version"])
    if "snapshot" in versions:
        meta = _signed(generation / "snapshot.json")["meta"]
        versions |= {name.removesuffix(".json"): int(entry["version"]) for name, entry in meta.items()}
    return versions


def _signed(path: Path) -> dict[str, Any]:
    signed: dict[str, Any] = json.loads(path.read_bytes())["signed"]
    return signed
