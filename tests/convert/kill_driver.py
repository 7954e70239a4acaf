"""Writes a package in a child that kills itself (SIGKILL) before its N-th file operation.

Run as `python -m tests.convert.kill_driver WORK OUT`; one number per line, one answer per line: 'killed', or the list
of operations when it came through. Only this driver is instrumented.
"""

import json
import os
import sys
import traceback
from pathlib import Path

from appliance.convert.package.package_writer import write_packages
from tests.convert.real_conversions import PAGES, WHEN, a_leaf_conversion, ignore
from tests.registry.kill_driver import OperationCounter


def run_in_child(at: int, work: Path, out: Path) -> str:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        counter = OperationCounter(at)
        try:
            with os.fdopen(writer, "w") as stream:  # opened before anything counts
                conversion = a_leaf_conversion(work, out)
                counter.install()
                write_packages(conversion, PAGES, ignore, when=WHEN)
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


def main() -> None:
    for line in sys.stdin:
        print(run_in_child(int(line), Path(sys.argv[1]), Path(sys.argv[2])), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
