"""Which shared libraries an extension in a wheel needs, and which of them only the machine has that it was built on.

Read from the file itself: the machine that makes software trees need not have binutils.
"""

import struct
import zipfile
from pathlib import Path

# The C library in its parts, with its loader: what every system of a box has.
_C_LIBRARY = ("libc.so", "libm.so", "libdl.so", "libpthread.so", "librt.so", "libresolv.so", "ld-linux")
_LOADED, _DYNAMIC = 1, 2  # kinds of segments; see elf(5)
_NEEDED, _STRING_TABLE = 1, 5  # kinds of entries of the dynamic section


def foreign_libraries(wheel: Path) -> list[str]:
    """Name what the extensions in a wheel need beside the C library. Raises ValueError if there are none."""
    with zipfile.ZipFile(wheel) as archive:
        extensions = [archive.read(name) for name in archive.namelist() if name.endswith(".so")]
    if not extensions:
        raise ValueError("there is no extension in it")
    needed = {library for extension in extensions for library in needed_libraries(extension)}
    return sorted(library for library in needed if not library.startswith(_C_LIBRARY))


def needed_libraries(extension: bytes) -> list[str]:
    """Read the NEEDED entries of a shared library. Raises ValueError if it is not one of a 64-bit box."""
    if extension[:6] != b"\x7fELF\x02\x01":  # 64 bits, little-endian: x86-64 and aarch64
        raise ValueError("not a 64-bit ELF file")
    try:
        return _needed_libraries(extension)
    except (struct.error, IndexError) as error:
        raise ValueError("the file ends in its middle") from error


def _needed_libraries(extension: bytes) -> list[str]:
    segments = _segments(extension)
    entries = [entry for kind, at, _, size in segments if kind == _DYNAMIC for entry in _entries(extension, at, size)]
    strings = next((value for kind, value in entries if kind == _STRING_TABLE), 0)
    table = next(
        (
            at + strings - address
            for kind, at, address, size in segments
            if kind == _LOADED and 0 <= strings - address < size
        ),
        0,
    )
    return [_string(extension, table + value) for kind, value in entries if kind == _NEEDED]


def _segments(extension: bytes) -> list[tuple[int, int, int, int]]:
    """Kind, place in the file, address and size in the file of each."""
    (place,) = struct.unpack_from("<Q", extension, 32)
    each, count = struct.unpack_from("<HH", extension, 54)
    headers = [struct.unpack_from("<IIQQQQ", extension, place + number * each) for number in range(count)]
    return [(kind, at, address, size) for kind, _, at, address, _, size in headers]


def _entries(extension: bytes, at: int, size: int) -> list[tuple[int, int]]:
    return list(struct.iter_unpack("<qQ", extension[at : at + size]))


def _string(extension: bytes, at: int) -> str:
    return extension[at : extension.index(b"\0", at)].decode()
