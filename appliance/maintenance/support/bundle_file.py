"""The file of a support bundle: a tar archive, compressed; equal content at one moment is equal bytes.

Invariant: the file gets its name when all of it is on the disk. What a power cut leaves is `<name>.tmp` at most.
"""

import gzip
import io
import os
import tarfile
from datetime import datetime
from pathlib import Path

from appliance.durable import disk_errors, is_lack_of_room, write_file
from appliance.errors import AlreadyExists, ApplianceError, CannotWrite, NotFound
from appliance.maintenance.support.bundle import Bundle

_MODE = 0o600
_ELSEWHERE = "name another place, for example a stick: appliance support-bundle --out DIR"


def place_of(out: Path | None, bundle_name: str) -> Path:
    """Say which file to write: `out`, or one in that directory (default: here). Raises NotFound, AlreadyExists."""
    out = out or Path()
    target = out / f"{bundle_name}.tar.gz" if out.is_dir() else out
    if not target.parent.is_dir():
        raise NotFound(f"there is no directory {target.parent}", hint="mount the stick, or make the directory")
    if os.path.lexists(target):
        raise AlreadyExists(f"{target} is there already", hint="name a file that is not there: --out FILE")
    return target


def require_writable(directory: Path) -> None:
    """Find out before everything is collected. Raises CannotWrite."""
    if not os.access(directory, os.W_OK | os.X_OK):
        raise CannotWrite(f"nothing can be written to {directory.absolute()}", hint=_ELSEWHERE)


def write_bundle(bundle: Bundle, target: Path) -> int:
    """Write the file, durably, for its owner only; returns its size in bytes. Raises CannotWrite."""
    data = _compressed(bundle)
    try:
        with disk_errors(f"writing {target}"):
            write_file(target, data, _MODE)
    except ApplianceError as error:
        smaller = ", or make it smaller: --max-mb 1" if is_lack_of_room(error) else ""
        raise CannotWrite(error.message, hint=_ELSEWHERE + smaller) from error
    return len(data)


def _compressed(bundle: Bundle) -> bytes:
    packed = io.BytesIO()
    moment = bundle.moment.replace(microsecond=0)
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=int(moment.timestamp())) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, data in bundle.files():
            archive.addfile(_entry(f"{bundle.name}/{name}", len(data), moment), io.BytesIO(data))
    return packed.getvalue()


def _entry(name: str, size_bytes: int, moment: datetime) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size_bytes, 0o644, int(moment.timestamp())
    return entry  # owner 0, without a name
