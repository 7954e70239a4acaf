"""The native transport's extension as it is installed: what it stands on, found out without loading it here.

This process has grpcio, and two cores of gRPC in one process are known to crash it.
"""

import importlib.util
import subprocess
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import Failed, Unsupported
from appliance.rpc.native_trial import native_core_version
from appliance.rpc.transport_choice import EXTENSION

_CORE = "libgrpc.so"
_SYMBOLS = b"\0.symtab\0"  # a section's name, which is there with the section only
_NO_FILES = ("linux-vdso", "linux-gate")  # the kernel's


@dataclass(frozen=True, slots=True)
class Extension:
    """One build of it."""

    path: Path
    size_bytes: int
    has_symbols: bool
    core_version: str
    libraries: tuple[str, ...]  # all that the loader brings along, the C library included

    @property
    def has_own_core(self) -> bool:
        """Whether gRPC's core is linked in, not the system's."""
        return not any(name.startswith(_CORE) for name in self.libraries)

    @property
    def core(self) -> str:
        """Version and kind of the core."""
        return f"{self.core_version} {'of its own' if self.has_own_core else 'of the system'}"


def installed_extension() -> Extension | None:
    """Return what is installed, or None. Raises Failed if that cannot be loaded."""
    found = importlib.util.find_spec(EXTENSION)
    if found is None or found.origin is None:
        return None
    path = Path(found.origin)
    content = path.read_bytes()
    return Extension(path, len(content), _SYMBOLS in content, native_core_version(), libraries_of(path))


def required_extension() -> Extension:
    """Return what is installed; raise Unsupported if there is nothing."""
    extension = installed_extension()
    if extension is None:
        raise Unsupported("the native transport is not built", hint="scripts/build-native")
    return extension


def libraries_of(path: Path) -> tuple[str, ...]:
    """Return the names of the shared libraries that a file is loaded with, in the loader's words (ldd)."""
    try:
        said = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failed(f"ldd does not tell what {path} needs: {error}", hint=f"ldd {path}") from error
    return read_ldd(said)


def read_ldd(said: str) -> tuple[str, ...]:
    """Parse ldd's output: one library a line, by name or by path."""
    names = (Path(line.split()[0]).name for line in said.splitlines() if line.strip())
    return tuple(sorted(name for name in names if not name.startswith(_NO_FILES) and ".so" in name))
