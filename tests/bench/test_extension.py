"""What the native transport's extension stands on, as the report tells it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmark.extension import Extension, installed_extension, read_ldd
from benchmark.report import Machine

from tests.rpc.native_tests import needs_extension

ROOT = Path(__file__).resolve().parents[2]
OWN = """\
\tlinux-vdso.so.1 (0x00007ffd7c5f5000)
\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f0a0c000000)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f0a0be00000)
\t/lib64/ld-linux-x86-64.so.2 (0x00007f0a0c9f5000)
"""
SYSTEM = f"\tlibgrpc.so.29 => /lib/x86_64-linux-gnu/libgrpc.so.29 (0x00007fec16800000)\n{OWN}"
STATIC = "\tstatically linked\n"


def extension(said: str) -> Extension:
    return Extension(Path("appliance_native.so"), 1, False, "29.0.0", read_ldd(said))


def test_libraries_are_told_by_name_without_the_kernels():
    assert read_ldd(OWN) == ("ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6")
    assert read_ldd(STATIC) == ()


@pytest.mark.parametrize(("said", "core"), [(OWN, "29.0.0 of its own"), (SYSTEM, "29.0.0 of the system")])
def test_a_core_of_its_own_needs_no_library_of_grpcs(said, core):
    assert extension(said).core == core


@pytest.mark.parametrize(
    ("native_core", "words"), [("54.0.0 of its own", "over gRPC core 54.0.0 of its own"), ("", "not built")]
)
def test_the_sentence_about_the_machine_names_the_core_under_the_native_transport(native_core, words):
    machine = Machine("2026-11-30", "a processor", 2, 25, "Linux 6.18", 0.5, {"grpcio": "1.81.0"}, native_core)

    assert f"grpcio 1.81.0; native transport {words}; load average" in machine.sentence()


@needs_extension
def test_what_is_installed_is_found_without_loading_it_here():
    found = installed_extension()

    assert found is not None
    assert found.size_bytes == found.path.stat().st_size
    assert int(found.core_version.partition(".")[0]) >= 29
    assert any(name.startswith("libc.so") for name in found.libraries)


@needs_extension
def test_the_native_echo_has_no_other_grpc_in_its_process():
    """Two cores of gRPC in one process are known to crash it (D51)."""
    program = "import benchmark.native_echo, sys; sys.exit('grpc' in sys.modules)"

    path = os.pathsep.join([str(ROOT), str(ROOT / "scripts"), os.environ.get("PYTHONPATH", "")])
    found = subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": path}, check=False)

    assert found.returncode == 0
