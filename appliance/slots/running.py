"""How a tree's software is started: by this machine's Python, isolated, the tree's packages before all others."""

import sys
from collections.abc import Sequence
from pathlib import Path

from appliance.slots.tree import SITE

_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from appliance.cli.main import main; main()"


def command_of(tree: Path, digest: str, bytecode: Path | None, arguments: Sequence[str]) -> list[str]:
    """Return the command that runs `appliance ARGUMENTS` of a tree.

    bytecode: where compiled code is kept, one directory for each tree; None: nowhere. Trees themselves never change.
    """
    keep = ["-B"] if bytecode is None else ["-X", f"pycache_prefix={bytecode / digest[:16]}"]
    return [sys.executable, "-I", *keep, "-c", _START, str(tree / SITE), *arguments]


def running_tree(package: Path) -> Path:
    """Return the tree that a package of ours lies in, given the directory of `appliance/`."""
    return package.parent.parent
