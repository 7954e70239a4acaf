"""Packages that were carried in and only unpacked, for processes that ignore PYTHONPATH on purpose.

The appliance starts its children isolated: they see what is installed and nothing else. So the interpreter gets an
environment for the time of the check, made of links, in which the unpacked packages count as installed.
"""

import sys
import sysconfig
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def installed_for_now(folders: Sequence[Path]) -> Iterator[None]:
    """Let `sys.executable` be an interpreter that has the packages of these folders installed."""
    if not folders:
        yield
        return
    own = sys.executable
    with TemporaryDirectory(prefix="gpu-check-") as environment:
        venv.EnvBuilder(system_site_packages=True, symlinks=True, with_pip=False).create(environment)
        sites = sysconfig.get_path("purelib", "venv", {"base": environment, "platbase": environment})
        # What this interpreter sees comes after the folders: it may itself be one of a virtual environment.
        seen = [Path(entry) for entry in sys.path if entry and Path(entry).is_dir()]
        lines = "".join(f"{folder.absolute()}\n" for folder in dict.fromkeys([*folders, *seen]))
        Path(sites, "carried.pth").write_text(lines)
        sys.executable = str(Path(environment, "bin", "python"))
        try:
            yield
        finally:
            sys.executable = own
