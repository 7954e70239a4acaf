"""Secrets that must not be found: words that stand nowhere else, and a search that also knows their encodings."""

import base64
import gzip
import secrets
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Canary:
    """One secret. what: where it was put, for a test that finds it."""

    what: str
    secret: bytes

    @classmethod
    def new(cls, what: str) -> "Canary":
        """Make one that nobody has seen before."""
        return cls(what, f"canary-{secrets.token_hex(10)}".encode())

    @property
    def text(self) -> str:
        """As a word."""
        return self.secret.decode()

    def forms(self) -> Iterator[bytes]:
        """Yield the bytes that show it: as they are, in hex, in base64 at each of its three offsets."""
        yield self.secret
        yield self.secret.hex().encode()
        yield self.secret.hex().upper().encode()
        for offset in range(3):
            encoded = base64.b64encode(bytes(offset) + self.secret)
            yield encoded[4 if offset else 0 : len(encoded) // 4 * 4 - 4]

    def is_in(self, data: bytes) -> bool:
        """Whether any of its forms is there."""
        return any(form in data for form in self.forms())


def unpacked(archive: Path) -> dict[str, bytes]:
    """Every file of a .tar.gz by its name without the first directory, and the bare bytes of the archive as ''."""
    with tarfile.open(archive) as members:
        files = {
            member.name.partition("/")[2]: stream.read()
            for member in members
            if (stream := members.extractfile(member)) is not None
        }
    return files | {"": gzip.decompress(archive.read_bytes())}


def leaked(canaries: list[Canary], files: dict[str, bytes]) -> list[str]:
    """Name what was found, and where."""
    return [f"{canary.what} in {name}" for canary in canaries for name, data in files.items() if canary.is_in(data)]
