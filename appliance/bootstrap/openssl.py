"""Signatures, checked by this system's own `openssl`: a box without software has no other library that can.

Invariant: before the first answer counts, the program has accepted a signature that is known to be good and refused
one that is known to be bad.
"""

import binascii
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from appliance.bundle.refusal import Refusal, UpdateRefused

_PLACES = "/usr/bin:/bin:/usr/local/bin"
_OLDEST = 3  # the first that checks Ed25519 on the command line
_ED25519_HEADER = bytes.fromhex("302a300506032b6570032100")  # SubjectPublicKeyInfo, before the 32 bytes of the key
_ED25519_BYTES = 32
_DIGESTS = {"ecdsa-sha2-nistp256": "sha256", "ecdsa-sha2-nistp384": "sha384"}
# RFC 8032, 7.1, test 2
_KNOWN_KEY = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
_KNOWN_DATA = b"\x72"
_KNOWN_SIGNATURE = (
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
_TIMEOUT_S = 60


class OpenSsl:
    """One `openssl` program. Use `found`."""

    def __init__(self, program: str) -> None:
        self._program = program

    @classmethod
    def found(cls, places: str = _PLACES) -> "OpenSsl":
        """Find and try the program. Raises UpdateRefused (PRECONDITION)."""
        program = shutil.which("openssl", path=places)
        if program is None:
            raise _unusable("there is no openssl on this system")
        openssl = cls(program)
        version = openssl._run("version").stdout.decode(errors="replace").strip()
        major = re.match(r"OpenSSL (\d+)\.", version)
        if major is None or int(major[1]) < _OLDEST:
            raise _unusable(f"{program} is {version[:60]!r}")
        openssl._require_right_answers()
        return openssl

    def verifies(self, key: Any, signature_hex: str, data: bytes) -> bool:
        """Whether `key`, an object of TUF metadata, made this signature. False for what it cannot read."""
        try:
            form, public, digest = _public_key(key)
            signature = binascii.unhexlify(signature_hex)
        except (KeyError, TypeError, ValueError, AttributeError):
            return False
        with tempfile.TemporaryDirectory(prefix="appliance-verify-") as directory:
            place = Path(directory)
            for name, content in (("key", public), ("signature", signature), ("data", data)):
                (place / name).write_bytes(content)
            done = self._run(
                *("pkeyutl", "-verify", "-pubin", "-keyform", form, "-inkey", place / "key", "-rawin"),
                *(("-digest", digest) if digest else ()),
                *("-sigfile", place / "signature", "-in", place / "data"),
            )
        return done.returncode == 0

    def _require_right_answers(self) -> None:
        key = {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": _KNOWN_KEY}}
        good = self.verifies(key, _KNOWN_SIGNATURE, _KNOWN_DATA)
        bad = self.verifies(key, _KNOWN_SIGNATURE, _KNOWN_DATA + b"\0")
        if (good, bad) != (True, False):
            raise _unusable(f"{self._program} gives wrong answers about a signature that is known")

    def _run(self, *arguments: str | Path) -> "subprocess.CompletedProcess[bytes]":
        try:
            return subprocess.run(
                [self._program, *arguments], env={}, capture_output=True, check=False, timeout=_TIMEOUT_S
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _unusable(f"{self._program} cannot be run: {error}") from error


def _public_key(key: Any) -> tuple[str, bytes, str]:
    """Return a key's form, its bytes, and the digest that is signed ('' where the scheme has its own)."""
    kind, scheme, public = key["keytype"], key["scheme"], key["keyval"]["public"]
    if (kind, scheme) == ("ed25519", "ed25519"):
        raw = binascii.unhexlify(public)
        if len(raw) != _ED25519_BYTES:
            raise ValueError("an Ed25519 key has 32 bytes")
        return "DER", _ED25519_HEADER + raw, ""
    if kind != "ecdsa":
        raise ValueError("no kind of key that stations make")
    return "PEM", public.encode(), _DIGESTS[scheme]


def _unusable(problem: str) -> UpdateRefused:
    return UpdateRefused(
        Refusal.PRECONDITION,
        f"signatures cannot be checked: {problem}, expected OpenSSL {_OLDEST} or newer",
        hint="install the system's package openssl; or take the owner's .deb or directory (scripts/build-deb)",
    )
