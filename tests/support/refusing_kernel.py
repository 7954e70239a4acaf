"""A program for which the kernel has no descriptors left when somebody calls: accept(2) fails with ENFILE.

The kernel itself answers so, by a filter of system calls (seccomp) that the program inherits.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from pathlib import Path

_ACCEPTS = {"x86_64": (43, 288), "aarch64": (202, 242)}  # accept, accept4
_LOAD_NUMBER, _SKIP_UNLESS_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def write_python(path: Path) -> Path:
    """Write an executable that is this Python, for such a program."""
    root = Path(__file__).resolve().parents[2]
    path.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(root)!r})\n"
        "from tests.support.refusing_kernel import run\nrun(sys.argv[1:])\n"
    )
    path.chmod(0o755)
    return path


def run(arguments: list[str]) -> None:
    """Become Python with these arguments."""
    instructions = [struct.pack("HBBI", _LOAD_NUMBER, 0, 0, 0)]
    for number in _ACCEPTS[platform.machine()]:
        instructions += [
            struct.pack("HBBI", _SKIP_UNLESS_EQUAL, 0, 1, number),
            struct.pack("HBBI", _RETURN, 0, 0, _FAIL | errno.ENFILE),
        ]
    instructions.append(struct.pack("HBBI", _RETURN, 0, 0, _ALLOW))
    program = _Program(len(instructions), b"".join(instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    for option, *values in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0),
        (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program)),
    ):
        if libc.prctl(option, *values, 0, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.execv(sys.executable, [sys.executable, *arguments])
