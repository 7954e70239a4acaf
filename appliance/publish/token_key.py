"""Keys in a PKCS#11 token: they never leave it. What lies beside the key files says only where they are.

ECDSA on P-256 or P-384, made with the token's own tools. The file `<role>-<n>-<id>.token` holds the key's address in
the token and the path of the token's library, and no secret; the PIN is asked for as a passphrase is.
"""

import importlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import HSMSigner, Key, Signer

from appliance.bundle.signed_document import SignedDocument
from appliance.durable import copy_hashed, disk_errors, fsync_directory, make_directory
from appliance.errors import Failed, NotFound

_MODULE = "PYKCS11LIB"  # the variable in which securesystemslib looks for the library


class TokenKey(SignedDocument):
    """Where a key is. address: `hsm:<number>?label=<token>`, label: of the token; module: its PKCS#11 library."""

    title: ClassVar[str] = "the token's file"

    address: str
    label: str
    module: str

    @classmethod
    def found(cls, module: Path, label: str, number: int, pin: Callable[[str], str]) -> "tuple[TokenKey, Key]":
        """Look a key up by its number (CKA_ID) in the token with this label. Raises NotFound, Failed."""
        _choose_module(module.absolute())
        try:
            address, key = HSMSigner.import_(number, label, pin)
        except UnsupportedLibraryError as error:
            raise _no_library(error) from error
        except Exception as error:  # python-pkcs11 raises its own kinds, and the token's
            raise NotFound(
                f"key {number} of the token '{label}' cannot be read: {error or type(error).__name__}",
                hint="list what it holds: pkcs11-tool --list-objects --module LIBRARY",
            ) from error
        return cls(address=address, label=label, module=str(module.absolute())), key

    def is_plugged_in(self) -> bool:
        """Whether the token answers. Whatever keeps it from that, other keys may do."""
        try:
            importlib.import_module("pkcs11").lib(self.module).get_token(token_label=self.label)
        except Exception:  # noqa: BLE001  (python-pkcs11 raises its own kinds, and the token's)
            return False
        return True

    def signer(self, key: Key, pin: Callable[[str], str]) -> Signer:
        """Return what signs with it; the token must be plugged in when it does."""
        _choose_module(Path(self.module))
        return HSMSigner.from_priv_key_uri(self.address, key, pin)

    def write(self, path: Path) -> None:
        """Keep the file, durably."""
        with disk_errors(f"writing {path}"):
            make_directory(path.parent)
            partial = path.with_suffix(".tmp")
            partial.unlink(missing_ok=True)
            copy_hashed(io.BytesIO(self.to_bytes()), partial, mode=0o644)
            partial.rename(path)
            fsync_directory(path.parent)


def _choose_module(module: Path) -> None:
    if not module.is_file():
        raise NotFound(
            f"the token's library {module} is not there",
            hint="install it, or name it: --token-module FILE; SoftHSM2's is libsofthsm2.so",
        )
    os.environ[_MODULE] = str(module)  # the library takes it from nowhere else


def _no_library(error: Exception) -> Failed:
    return Failed(f"tokens cannot be used: {error}", hint="pip install '.[publish]'")
