"""Bytes under AES-256-GCM in chunks, so that a file of any size is encrypted and checked in flat memory.

Chunk number n is sealed with the nonce n, 11 bytes, and one byte that says whether it is the last. So a chunk that is
changed, moved, missing or added is found, and so is a file that ends early. No key is used for a second file.
"""

from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.errors import InvalidInput

CHUNK_BYTES = 1024 * 1024
_TAG_BYTES = 16


class SealedWriter:
    """Seals what is written into a stream; `finish` writes the last chunk, without which nothing is readable."""

    def __init__(self, stream: BinaryIO, key: bytes) -> None:
        self._stream = stream
        self._cipher = AESGCM(key)
        self._waiting = bytearray()
        self._number = 0

    def write(self, data: bytes) -> int:
        """Take bytes; they reach the stream in whole chunks, and never the last one."""
        self._waiting += data
        while len(self._waiting) > CHUNK_BYTES:  # a chunk that is full may be the last: it waits
            self._seal(bytes(self._waiting[:CHUNK_BYTES]), last=False)
            del self._waiting[:CHUNK_BYTES]
        return len(data)

    def finish(self) -> None:
        """Write what waits, as the last chunk."""
        self._seal(bytes(self._waiting), last=True)
        self._waiting.clear()

    def _seal(self, chunk: bytes, *, last: bool) -> None:
        self._stream.write(self._cipher.encrypt(_nonce(self._number, last=last), chunk, None))
        self._number += 1


class SealedReader:
    """Gives back what a SealedWriter took, checked. Raises InvalidInput at the first chunk that is not as written."""

    def __init__(self, stream: BinaryIO, key: bytes, name: str) -> None:
        """`name`: what errors call the file."""
        self._stream = stream
        self._cipher = AESGCM(key)
        self._name = name
        self._number = 0
        self._opened = bytearray()
        self._ahead = stream.read(CHUNK_BYTES + _TAG_BYTES)
        self._is_at_end = False

    def read(self, size: int) -> bytes:
        """Return `size` bytes, fewer only at the end."""
        while len(self._opened) < size and not self._is_at_end:
            self._open_chunk()
        data = bytes(self._opened[:size])
        del self._opened[:size]
        return data

    def drain(self) -> None:
        """Check all that is left."""
        while self.read(CHUNK_BYTES):
            pass

    def _open_chunk(self) -> None:
        chunk, self._ahead = self._ahead, self._stream.read(CHUNK_BYTES + _TAG_BYTES)
        last = not self._ahead
        try:
            self._opened += self._cipher.decrypt(_nonce(self._number, last=last), chunk, None)
        except InvalidTag as error:
            raise InvalidInput(
                f"{self._name} is damaged or cut off: chunk {self._number} is not as it was written",
                hint="copy it again from where it was kept, or take another backup",
            ) from error
        self._number += 1
        self._is_at_end = last


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])
