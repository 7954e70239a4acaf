"""Destroying files as far as software reaches, and saying how far that is."""

import fcntl
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from appliance.durable import fsync_directory

_PIECE_BYTES = 1024 * 1024
_FITRIM = 0xC0185879
_WRITES_ELSEWHERE = frozenset({"btrfs", "zfs", "f2fs", "bcachefs", "nilfs2", "overlay"})

Erased = Callable[[int], None]  # so many bytes more


def erase_tree(path: Path, erased: Erased) -> None:
    """Overwrite every file once with random bytes, on the disk, then remove it; links are removed only.

    Can be repeated. Raises OSError.
    """
    if path.is_dir() and not path.is_symlink():
        path.chmod(0o700)
        for child in sorted(path.iterdir()):
            erase_tree(child, erased)
        path.rmdir()
    elif os.path.lexists(path):
        _erase_file(path, erased)
    else:
        return
    fsync_directory(path.parent)


def _erase_file(path: Path, erased: Erased) -> None:
    status = path.lstat()
    is_last_name = path.is_file() and not path.is_symlink() and status.st_nlink == 1
    if is_last_name:  # other names of the same content are overwritten with the last of them
        path.chmod(0o600)
        _overwrite(path, status.st_size, erased)
    path.unlink()


def _overwrite(path: Path, size_bytes: int, erased: Erased) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        left = size_bytes
        while left:
            written = os.write(descriptor, os.urandom(min(left, _PIECE_BYTES)))
            left -= written
            erased(written)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def discard_free_space(directory: Path) -> str:
    """Ask the medium to forget the blocks of what was deleted. Returns what became of that, as a sentence."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        answer = fcntl.ioctl(descriptor, _FITRIM, struct.pack("QQQ", 0, 2**64 - 1, 0))
    except OSError as error:
        return f"The medium was not told to discard the freed blocks: {error.strerror}."
    finally:
        os.close(descriptor)
    return f"The medium was told to discard {struct.unpack('QQQ', answer)[1]} bytes of free space."


@dataclass(frozen=True, slots=True)
class Medium:
    """What a directory lies on. file_system: '' if unknown; rotates: None if the kernel does not say."""

    file_system: str = ""
    rotates: bool | None = None

    @classmethod
    def of(cls, directory: Path, root: Path = Path("/")) -> "Medium":
        """Ask the kernel. `root`: where its /proc and /sys are."""
        device = directory.stat().st_dev
        number = f"{os.major(device)}:{os.minor(device)}"
        block = root / "sys" / "dev" / "block" / number
        for queue in (block / "queue", block.resolve().parent / "queue"):  # a partition's disk has it
            text = _read(queue / "rotational").strip()
            if text:
                return cls(_file_system(_read(root / "proc/self/mountinfo"), number), text == "1")
        return cls(_file_system(_read(root / "proc/self/mountinfo"), number))

    @property
    def reach(self) -> tuple[str, ...]:
        """How far overwriting reaches here, as sentences."""
        sentences = []
        if self.file_system in _WRITES_ELSEWHERE:
            sentences.append(
                f"The file system is {self.file_system}: it writes elsewhere than in place, so that what stood there "
                "before was deleted, not overwritten."
            )
        if self.rotates:
            sentences.append(
                "The medium is a rotating disk: overwriting reaches all but sectors that it had replaced."
            )
        else:
            kind = "The medium is flash" if self.rotates is False else "The medium may be flash"
            sentences.append(
                f"{kind}: worn-out and spare cells, which no software reaches, may hold copies. Where that matters, "
                "use the medium's own secure erase, or destroy it."
            )
        return tuple(sentences)


def _file_system(mountinfo: str, number: str) -> str:
    for line in reversed(mountinfo.splitlines()):
        fields, _, rest = line.partition(" - ")
        if len(fields.split()) > 2 and fields.split()[2] == number and rest:  # noqa: PLR2004
            return rest.split()[0]
    return ""


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
