"""Small software trees: whole and startable; their `appliance.cli.main` says what it is and how it was called."""

import json
from pathlib import Path

from appliance.slots.tree import DESCRIPTION, SITE, Software, write_file_list

MAIN = """
import json, sys

def main():
    print(json.dumps({{"version": "{version}", "arguments": sys.argv[1:], "path": sys.path[0]}}))
"""


def make_tree(
    directory: Path,
    version: str = "0.1.0",
    *,
    data_epoch: int = 1,
    main: str = MAIN,
    python: str = "3.11",
    machine: str = "x86_64",
    variant: str = "cpu",
) -> str:
    """Write a tree and return its digest."""
    package = directory / SITE / "appliance" / "cli"
    package.mkdir(parents=True)
    for file in (package.parent / "__init__.py", package / "__init__.py"):
        file.write_text("")
    (package / "main.py").write_text(main.format(version=version))
    (directory / DESCRIPTION).write_bytes(Software(version, python, machine, data_epoch, variant).to_bytes())
    return write_file_list(directory)


def answer_of(output: str) -> dict[str, object]:
    """Read what a tree's `main` printed."""
    answer: dict[str, object] = json.loads(output)
    return answer
