"""How a tree's software is started: by this machine's Python, isolated, the tree's packages before all others."""

import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from appliance.errors import ApplianceError
from appliance.slots.places import Places
from appliance.slots.tree import SITE

COMMAND_LINE = "appliance.cli.main"
ADOPTION = "appliance.updates.adoption"
_START = "import sys, importlib; sys.path.insert(0, sys.argv.pop(1)); importlib.import_module(sys.argv.pop(1)).main()"


def command_of(tree: Path, arguments: Sequence[str], module: str = COMMAND_LINE) -> list[str]:
    """Return the command that runs a module's `main` of a tree, such as `appliance ARGUMENTS`.

    Compiled code lies in the tree, signed like the rest; none is written, and none is read from anywhere else.
    """
    return [sys.executable, "-I", "-B", "-c", _START, str(tree / SITE), module, *arguments]


def run_software(places: Places, arguments: Sequence[str], module: str = COMMAND_LINE) -> NoReturn:
    """Become a command of the software that runs. Root runs nothing that another user could have written."""
    command = command_of(software_to_run(places), arguments, module)
    os.execv(command[0], command)  # noqa: S606  (a fixed form, no shell)


def software_to_run(places: Places) -> Path:
    """Choose the tree of the slot that runs, or is current; else the rescue software, which has the same commands."""
    try:
        record = places.slots.read()
        name = record.run.slot if record.run is not None else record.current
        tree = places.slots.path(name)
        if record.slots[name].usable and not places.rescued.exists() and _may_run(tree):
            return tree
    except (ApplianceError, OSError):
        pass
    return places.rescue


def _may_run(tree: Path) -> bool:
    if os.geteuid() != 0:
        return os.access(tree, os.R_OK | os.X_OK)
    return only_root_writes(tree.parent) and only_root_writes(tree)


def only_root_writes(directory: Path) -> bool:
    """Whether a directory is root's, and nobody else may write to it. Raises OSError if it cannot be looked at."""
    found = directory.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == 0 and not found.st_mode & 0o022


def running_tree(package: Path) -> Path:
    """Return the tree that a package of ours lies in, given the directory of `appliance/`."""
    return package.parent.parent
