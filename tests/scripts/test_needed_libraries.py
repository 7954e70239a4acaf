"""Which native transport scripts/build-software takes: one that needs nothing of the system that it was built on."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scripts.needed_libraries import foreign_libraries, needed_libraries

ROOT = Path(__file__).resolve().parents[2]
needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc")


def compiled(directory: Path, *libraries: str) -> Path:
    """An extension that needs libraries of these names, in a wheel."""
    extension = directory / "appliance_native.so"
    source = directory / "empty.c"
    source.write_text("")
    for library in libraries:
        subprocess.run(["gcc", "-shared", f"-Wl,-soname,{library}", "-o", directory / library, source], check=True)
    linked = [directory / library for library in libraries]
    subprocess.run(["gcc", "-shared", "-Wl,--no-as-needed", "-o", extension, source, *linked, "-lm"], check=True)
    wheel = directory / "appliance_native-0.1.0-cp311-cp311-linux_x86_64.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(extension, extension.name)
    return wheel


def build_software(out: Path, *options: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, ROOT / "scripts" / "build-software", out, *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(shutil.which("readelf") is None, reason="there is no readelf")
def test_libraries_are_read_as_readelf_reads_them() -> None:
    program = Path(sys.executable).resolve()
    said = subprocess.run(["readelf", "-d", program], capture_output=True, text=True, check=True).stdout

    assert needed_libraries(program.read_bytes()) == re.findall(r"\(NEEDED\).*\[(.*)\]", said)
    assert needed_libraries(program.read_bytes())


@needs_compiler
def test_the_c_library_is_everywhere_and_others_are_foreign(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()

    assert foreign_libraries(compiled(tmp_path / "own")) == []
    assert foreign_libraries(compiled(tmp_path, "libgrpc.so.29", "libgpr.so.29")) == ["libgpr.so.29", "libgrpc.so.29"]


@needs_compiler
def test_a_native_transport_over_the_system_s_grpc_is_not_put_into_a_tree(tmp_path: Path) -> None:
    wheel = compiled(tmp_path, "libgrpc.so.29")

    done = build_software(tmp_path / "tree", "--native", wheel)

    assert done.returncode == 2
    assert "needs what a box does not have (libgrpc.so.29)" in done.stderr
    assert "scripts/build-native --own-core --wheel DIR" in done.stderr
    assert not (tmp_path / "tree").exists()


@needs_compiler
def test_an_extension_that_ends_in_its_middle_is_none(tmp_path: Path) -> None:
    compiled(tmp_path)
    content = (tmp_path / "appliance_native.so").read_bytes()

    for size in (40, 70, 300):
        with pytest.raises(ValueError, match="ends in its middle"):
            needed_libraries(content[:size])


def test_a_wheel_without_an_extension_is_none(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr("a.py", "")

    with pytest.raises(ValueError, match="no extension"):
        foreign_libraries(tmp_path / "a.whl")


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_what_is_no_wheel_is_a_usage_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.whl").write_bytes(content)

    done = build_software(tmp_path / "tree", "--native", tmp_path / "a.whl")

    assert done.returncode == 2
    assert "is no wheel of the native transport" in done.stderr
