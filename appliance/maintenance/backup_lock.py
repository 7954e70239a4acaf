"""Who can open a backup: whoever knows a passphrase, or holds the private half of an X25519 key.

Each backup has a key of its own, from the kernel. The file begins with it, locked once for each way to open it; the
key of the content is derived from it and from the digest of that beginning, so that nothing there can be exchanged.
"""

import os
from typing import Annotated, Literal, Protocol

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from pydantic import BaseModel, ConfigDict, Field

from appliance.errors import InvalidInput

KEY_BYTES = 32
SCRYPT_COST = 2**17  # 128 MiB and about half a second for each try
MOST_COST = 2**20  # 1 GiB: a file must not say how much memory its reader takes
SHORTEST_PASSPHRASE = 12  # characters
_ONCE = bytes(12)  # the nonce: every locking key is used for one message only

Hex256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
LockedKey = Annotated[str, Field(pattern="^[0-9a-f]{96}$")]


class _Slot(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PassphraseSlot(_Slot):
    """The key of the file, locked with what scrypt makes of a passphrase. cost: its N; r is 8, p is 1."""

    kind: Literal["scrypt"] = "scrypt"
    salt: Hex256
    cost: Annotated[int, Field(ge=2, le=MOST_COST)]
    locked: LockedKey


class PublicKeySlot(_Slot):
    """The key of the file, locked for one X25519 key. recipient, once: public keys, in hex."""

    kind: Literal["x25519"] = "x25519"
    recipient: Hex256
    once: Hex256
    locked: LockedKey


Slot = Annotated[PassphraseSlot | PublicKeySlot, Field(discriminator="kind")]


class Lock(Protocol):
    """One way to open a backup, when it is written."""

    def lock(self, file_key: bytes) -> PassphraseSlot | PublicKeySlot:
        """Lock the key of a file."""


class Unlock(Protocol):
    """What a person has brought to open a backup."""

    missing: str  # what to say when no slot of a file fits

    def unlock(self, slot: PassphraseSlot | PublicKeySlot) -> bytes | None:
        """Return the key of the file, None if this slot is for somebody else."""


class Passphrase:
    """A passphrase; both a Lock and an Unlock."""

    def __init__(self, passphrase: bytes, cost: int = SCRYPT_COST) -> None:
        self._passphrase = passphrase
        self._cost = cost
        self.missing = "it cannot be opened with this passphrase"

    @classmethod
    def chosen(cls, passphrase: bytes) -> "Passphrase":
        """Take a new passphrase. Raises InvalidInput if it is too short to keep anybody out."""
        length = len(passphrase.decode(errors="replace"))
        if length < SHORTEST_PASSPHRASE:
            raise InvalidInput(
                f"the passphrase has {length} characters, at least {SHORTEST_PASSPHRASE} are needed",
                hint="take several words; nothing but the passphrase protects the box's key in the backup",
            )
        return cls(passphrase)

    def lock(self, file_key: bytes) -> PassphraseSlot:
        """Lock the key of a file."""
        salt = os.urandom(32)
        locked = AESGCM(self._derived(salt, self._cost)).encrypt(_ONCE, file_key, None)
        return PassphraseSlot(salt=salt.hex(), cost=self._cost, locked=locked.hex())

    def unlock(self, slot: PassphraseSlot | PublicKeySlot) -> bytes | None:
        """Return the key of the file, None if the passphrase does not fit."""
        if not isinstance(slot, PassphraseSlot):
            return None
        try:
            key = self._derived(bytes.fromhex(slot.salt), slot.cost)
            return AESGCM(key).decrypt(_ONCE, bytes.fromhex(slot.locked), None)
        except InvalidTag:
            return None
        except (ValueError, MemoryError) as error:
            raise InvalidInput(f"the backup asks for scrypt with a cost of {slot.cost}: {error}") from error

    def _derived(self, salt: bytes, cost: int) -> bytes:
        return Scrypt(salt=salt, length=KEY_BYTES, n=cost, r=8, p=1).derive(self._passphrase)


class PublicKey:
    """A Lock that only the holder of the private key can open; the box itself cannot."""

    def __init__(self, key: X25519PublicKey) -> None:
        self._key = key

    @classmethod
    def parse(cls, pem: bytes, name: str) -> "PublicKey":
        """Read a public key in PEM. Raises InvalidInput."""
        try:
            key = load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise InvalidInput(f"{name} is no public key in PEM", hint=_MAKE) from error
        if not isinstance(key, X25519PublicKey):
            raise InvalidInput(f"{name} holds a {type(key).__name__}, expected an X25519 key", hint=_MAKE)
        return cls(key)

    def lock(self, file_key: bytes) -> PublicKeySlot:
        """Lock the key of a file."""
        own = X25519PrivateKey.generate()
        once, recipient = own.public_key().public_bytes_raw(), self._key.public_bytes_raw()
        key = _shared_key(own.exchange(self._key), once, recipient)
        locked = AESGCM(key).encrypt(_ONCE, file_key, None)
        return PublicKeySlot(recipient=recipient.hex(), once=once.hex(), locked=locked.hex())


class PrivateKey:
    """An Unlock: the private half of a PublicKey."""

    def __init__(self, key: X25519PrivateKey) -> None:
        self._key = key
        self.missing = "it was not written for this key"

    @classmethod
    def parse(cls, pem: bytes, name: str, passphrase: bytes | None) -> "PrivateKey":
        """Read a private key in PEM; `passphrase` if it is encrypted. Raises InvalidInput."""
        try:
            key = load_pem_private_key(pem, passphrase)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise InvalidInput(
                f"{name} cannot be unlocked: wrong passphrase, or no private key in PEM", hint=_MAKE
            ) from error
        if not isinstance(key, X25519PrivateKey):
            raise InvalidInput(f"{name} holds a {type(key).__name__}, expected an X25519 key", hint=_MAKE)
        return cls(key)

    def unlock(self, slot: PassphraseSlot | PublicKeySlot) -> bytes | None:
        """Return the key of the file, None if it was locked for another key."""
        own = self._key.public_key().public_bytes_raw()
        if not isinstance(slot, PublicKeySlot) or slot.recipient != own.hex():
            return None
        once = bytes.fromhex(slot.once)
        try:
            key = _shared_key(self._key.exchange(X25519PublicKey.from_public_bytes(once)), once, own)
            return AESGCM(key).decrypt(_ONCE, bytes.fromhex(slot.locked), None)
        except (InvalidTag, ValueError):
            return None


_MAKE = "make a pair: appliance backup key FILE"


def content_key(file_key: bytes, beginning_sha256: bytes) -> bytes:
    """Derive the key of the content. `beginning_sha256`: of everything in the file before it."""
    return _derived(file_key, beginning_sha256, b"appliance backup: content")


def _shared_key(shared: bytes, once: bytes, recipient: bytes) -> bytes:
    return _derived(shared, once + recipient, b"appliance backup: x25519")


def _derived(secret: bytes, salt: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=purpose).derive(secret)
