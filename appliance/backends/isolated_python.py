"""How children are started that may crash, hang or eat memory: Python without the user's environment and paths."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

_START = "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from {module} import main; main()"
_PACKAGE_PARENT = Path(__file__).parents[2]  # for a source tree that is not installed


def isolated_command(module: str, *arguments: str, packages: Sequence[Path] | None = None) -> list[str]:
    """Return the command that calls `main` of a module of ours; arguments are in sys.argv[1:].

    packages: directories in which it finds Python packages. Default: those of this process, because wheels may have
    been carried in and lie where PYTHONPATH points, which isolated Python ignores. The working directory is never
    among them: it may be a model's, where a hostile json.py could lie.
    """
    path = _own_path() if packages is None else [os.fspath(package) for package in packages]
    return [sys.executable, "-I", "-B", "-c", _START.format(module=module), json.dumps(path), *arguments]


def _own_path() -> list[str]:
    here = str(Path.cwd())
    kept = [entry for entry in sys.path if Path(entry).is_absolute() and entry != here]
    return [*kept, os.fspath(_PACKAGE_PARENT)]
