"""Writes a package in a child that kills itself (SIGKILL) before its N-th file operation.

Run as `python -m tests.convert.kill_driver WORK OUT`; one number per line, one answer per line: 'killed', or the list
of operations when it came through. See kill_points.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from appliance.convert.package.package_writer import write_packages
from tests.convert.real_conversions import PAGES, WHEN, a_leaf_conversion, ignore
from tests.support.kill_points import killed_before


def run_in_child(at: int, work: Path, out: Path) -> str:
    def prepare() -> Callable[[], object]:
        conversion = a_leaf_conversion(work, out)
        return lambda: write_packages(conversion, PAGES, ignore, when=WHEN)

    return killed_before(at, prepare)


def main() -> None:
    for line in sys.stdin:
        print(run_in_child(int(line), Path(sys.argv[1]), Path(sys.argv[2])), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
