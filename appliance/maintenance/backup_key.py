"""Pairs of keys for backups: the public half locks, the private half, kept in a safe, opens."""

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
)

from appliance.durable import disk_errors, fsync_directory
from appliance.errors import AlreadyExists
from appliance.maintenance.backup_lock import Passphrase


def make_key_pair(private: Path, passphrase: bytes) -> Path:
    """Write an encrypted private key, and its public half beside it; returns that path.

    Raises AlreadyExists, InvalidInput (the passphrase is too short), Failed.
    """
    Passphrase.chosen(passphrase)
    public = private.with_name(f"{private.name}.pub")
    for path in (private, public):
        if os.path.lexists(path):
            raise AlreadyExists(f"{path} is there already", hint="name a file that is not there")
    key = X25519PrivateKey.generate()
    with disk_errors(f"writing {private}"):
        locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))
        _write(private, locked, 0o600)
        _write(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
        fsync_directory(private.parent)
    return public


def _write(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as stream:  # noqa: PTH123  (a descriptor)
        stream.write(data)
        stream.flush()
        os.fsync(descriptor)
