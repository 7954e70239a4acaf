"""Reading a file that a configuration names, from inside the package and from nowhere else."""

import stat
from pathlib import Path

from appliance.errors import InvalidInput

LARGEST_BYTES = 256 * 1024 * 1024


def read_package_file(package: Path, relative: str) -> bytes:
    """Return the content of a regular file of the package.

    Raises InvalidInput if the name leads out of it (links included), or it is no regular file, or too large.
    """
    path = package / relative
    try:
        found = path.resolve(strict=True)
        status = found.stat()
    except OSError as error:
        raise InvalidInput(f"file '{relative}' of the package cannot be read: {error.strerror}") from error
    if not found.is_relative_to(package.resolve()):
        raise InvalidInput(f"file '{relative}' leads out of the package")
    if not stat.S_ISREG(status.st_mode):
        raise InvalidInput(f"'{relative}' of the package is not a regular file")
    if status.st_size > LARGEST_BYTES:
        raise InvalidInput(f"file '{relative}' has {status.st_size} bytes, at most {LARGEST_BYTES} are read")
    return found.read_bytes()
