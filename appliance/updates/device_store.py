"""Who this box is, on its disk: identity.json, the first root of trust, and the key with which the box signs.

Invariant: identity.json is written last, once, when all the rest is durable; a box that has it is sealed. Nothing
here is ever changed afterwards.
"""

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from appliance.bundle.device import DeviceIdentity
from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.durable import disk_errors, make_directory, write_file
from appliance.errors import InvalidInput

_PRIVATE = 0o600
_PUBLIC = 0o644


class DeviceStore:
    """The `device/` directory of one state directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._identity = directory / "identity.json"
        self._root = directory / "root.json"
        self._key = directory / "receipt.key"

    @property
    def is_sealed(self) -> bool:
        """Whether only signed content may be installed and served here."""
        return os.path.lexists(self._identity)

    def identity(self) -> DeviceIdentity | None:
        """Return who this box is; None if it was never provisioned. Raises UpdateRefused (STATE_DAMAGED)."""
        data = self._read(self._identity)
        if data is None:
            return None
        try:
            return DeviceIdentity.parse(data)
        except InvalidInput as error:
            raise self._damaged(f"{self._identity}: {error.message}") from error

    def first_root(self) -> bytes | None:
        """Return the root of trust that the box was provisioned with; None if there is none yet."""
        return self._read(self._root)

    def keep_first_root(self, root: bytes) -> None:
        """Write the first root of trust down, durably."""
        self._write(self._root, root, _PUBLIC)

    def make_key(self) -> str:
        """Make the box's key if it has none, durably. Returns its public half in hex."""
        if self._read(self._key) is None:
            key = Ed25519PrivateKey.generate()
            self._write(self._key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), _PRIVATE)
        return _public_hex(self._private_key())

    def seal(self, identity: DeviceIdentity) -> None:
        """Say who this box is, durably: the last step of provisioning. An identity is never replaced."""
        assert self.identity() is None, "this box is sealed already"
        self._write(self._identity, identity.to_bytes(), _PUBLIC)

    def sign(self, document: bytes) -> str:
        """Sign with the box's key; the signature in hex. Raises UpdateRefused (STATE_DAMAGED) without the key."""
        key = self._private_key()
        identity = self.identity()
        if identity is not None and identity.receipt_key != _public_hex(key):
            raise self._damaged(f"{self._key} is not the key of this box, {identity.receipt_key[:16]}...")
        return key.sign(document).hex()

    def _private_key(self) -> Ed25519PrivateKey:
        data = self._read(self._key)
        if data is None:
            raise self._damaged(f"{self._key} is missing")
        try:
            key = load_pem_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise self._damaged(f"{self._key} cannot be read: {error}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise self._damaged(f"{self._key} holds a {type(key).__name__}, expected an Ed25519 key")
        return key

    def _read(self, path: Path) -> bytes | None:
        with disk_errors(f"reading {path}"):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                return None

    def _write(self, path: Path, data: bytes, mode: int) -> None:
        with disk_errors(f"writing {path}"):
            make_directory(self.directory)
            write_file(path, data, mode)

    def _damaged(self, message: str) -> UpdateRefused:
        return UpdateRefused(
            Refusal.STATE_DAMAGED,
            message,
            hint=f"restore {self.directory} from a backup of this box, or set the box up anew: appliance provision",
            facts={"directory": str(self.directory)},
        )


def _public_hex(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()
