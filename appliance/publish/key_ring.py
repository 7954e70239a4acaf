"""Keys in files: Ed25519, one encrypted file each in OpenSSH's form, found wherever their safe is plugged in.

That form, because it slows a thief down: bcrypt with a number of rounds, where PKCS#8 as it is written here would let
a passphrase be tried a million times a second. `ssh-keygen -y -f FILE` reads it.

Ownership: a private key is in memory only between being unlocked and the end of the command.
"""

import contextlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PrivateFormat,
    load_ssh_private_key,
)
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey

from appliance.durable import disk_errors, fsync_directory, make_directory
from appliance.errors import AlreadyExists, Failed, InvalidInput, NotFound
from appliance.publish.token_key import TokenKey

SHORTEST_PASSPHRASE = 12
KDF_ROUNDS = 100  # about a second for each try
_KEY, _TOKEN = ".key", ".token"
_SHOWN_DIGITS = 16  # of a key's identifier, in the name of its file

Passphrase = Callable[[str], bytes]  # asked with the name of a key file, or of a token


@dataclass(frozen=True, slots=True)
class Secrets:
    """Who is asked: for the passphrase of a file that is there or of one that is made, and for a token's PIN."""

    passphrase: Passphrase
    new_passphrase: Passphrase
    pin: Passphrase


class KeyRing:
    """Key files in several directories; new ones go into the first, the station's own.

    Files of tokens count in that one only: they name a library that is loaded, which a stick must not choose.
    """

    def __init__(self, directories: Sequence[Path], secrets: Secrets, kdf_rounds: int = KDF_ROUNDS) -> None:
        """kdf_rounds: of new files; what a try of a passphrase costs."""
        self._directories = tuple(directories)
        self._secrets = secrets
        self._kdf_rounds = kdf_rounds
        self._unlocked: dict[str, Signer] = {}

    def make(self, name: str) -> Key:
        """Make a key and write its file, durably, readable by its owner only. Returns the public half."""
        private = Ed25519PrivateKey.generate()
        public = SSlibKey.from_crypto(private.public_key())
        path = self._directories[0] / _file_name(name, public.keyid, _KEY)
        passphrase = self._secrets.new_passphrase(path.name)
        if len(passphrase) < SHORTEST_PASSPHRASE:
            raise InvalidInput(
                f"the passphrase has {len(passphrase)} characters, expected at least {SHORTEST_PASSPHRASE}",
                hint="a few words in a row are easy to keep",
            )
        encryption = PrivateFormat.OpenSSH.encryption_builder().kdf_rounds(self._kdf_rounds).build(passphrase)
        data = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, encryption)
        _write_private(path, data)
        self._unlocked[public.keyid] = CryptoSigner(private, public)
        return public

    def take_token(self, name: str, module: Path, label: str, number: int) -> Key:
        """Let a key in a token sign, too. Returns the public half. Raises NotFound, Failed."""
        token, public = TokenKey.found(module, label, number, self._pin(label))
        token.write(self._directories[0] / _file_name(name, public.keyid, _TOKEN))
        return public

    def numbers(self, role: str) -> list[int]:
        """Return the numbers of a role's key files, wherever they are plugged in."""
        form = re.compile(rf"{re.escape(role)}-([0-9]+)-[0-9a-f]{{{_SHOWN_DIGITS}}}({_KEY}|{_TOKEN})")
        names = (path.name for directory in self._directories if directory.is_dir() for path in directory.iterdir())
        return [int(match[1]) for name in names if (match := form.fullmatch(name))]

    def find(self, key_id: str) -> Path | None:
        """Return the file of a key; None if it is not plugged in."""
        own, *_ = self._directories
        places = [*((directory, _KEY) for directory in self._directories), (own, _TOKEN)]
        found = (sorted(directory.glob(_file_name("*", key_id, suffix))) for directory, suffix in places)
        return next((paths[0] for paths in found if paths), None)

    def signers(self, role: str, keys: Sequence[Key], needed: int) -> list[Signer]:
        """Unlock as many of a role's keys as must sign. Raises NotFound, InvalidInput (passphrase)."""
        found: list[Signer] = []
        for key in keys:
            if len(found) == needed:
                break
            signer = self._unlocked.get(key.keyid) or self._unlock(key)
            if signer is not None:
                found.append(signer)
        if len(found) == needed:
            return found
        searched = ", ".join(map(str, self._directories))
        wanted = ", ".join(_file_name("*", key.keyid, _KEY) for key in keys)
        raise NotFound(
            f"{needed} keys must sign '{role}', {len(found)} were found in {searched}",
            hint=f"bring the key files ({wanted}) and name their directories: --keys DIR; or plug in the token",
        )

    def _unlock(self, key: Key) -> Signer | None:
        """Return what signs with a key, None if its file or its token is not plugged in."""
        path = self.find(key.keyid)
        if path is None:
            return None
        if path.suffix == _TOKEN:
            token = TokenKey.parse(path.read_bytes())
            return token.signer(key, self._pin(token.label)) if token.is_plugged_in() else None
        signer = self._unlocked_file(path)
        if signer.public_key.keyid != key.keyid:
            raise InvalidInput(f"{path} holds another key than its name says", hint="bring the file that was made")
        self._unlocked[key.keyid] = signer
        return signer

    def _unlocked_file(self, path: Path) -> CryptoSigner:
        try:
            private = load_ssh_private_key(path.read_bytes(), self._secrets.passphrase(path.name))
        except UnsupportedAlgorithm as error:
            raise Failed(f"{path} cannot be unlocked: {error}", hint="pip install '.[publish]'") from error
        except (ValueError, TypeError) as error:
            raise InvalidInput(
                f"{path} cannot be unlocked: wrong passphrase, or not a key file", hint="try again"
            ) from error
        if not isinstance(private, Ed25519PrivateKey):
            raise InvalidInput(f"{path} holds no Ed25519 key", hint="bring the file that was made")
        return CryptoSigner(private)

    def _pin(self, label: str) -> Callable[[str], str]:
        return lambda _: self._secrets.pin(f"the token {label}").decode()


def _file_name(name: str, key_id: str, suffix: str) -> str:
    return f"{name}-{key_id[:_SHOWN_DIGITS]}{suffix}"


def _write_private(path: Path, data: bytes) -> None:
    with disk_errors(f"writing {path}"):
        make_directory(path.parent)
        partial = path.with_suffix(".tmp")
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if path.exists():
            raise AlreadyExists(f"{path} is there already", hint="move it away")
        partial.rename(path)
        fsync_directory(path.parent)
