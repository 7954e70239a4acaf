"""What locks a backup and opens it again: passphrases that are read or asked for, key files."""

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appliance.cli.exit_codes import WrongUsage

if TYPE_CHECKING:
    from appliance.maintenance.backup_lock import Lock, Unlock

PassphraseFileOption = Annotated[
    Path | None,
    typer.Option("--passphrase-file", metavar="FILE", help="File with the passphrase. Without it, it is asked for."),
]
PrivateKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--key", metavar="FILE", help="Private key (PEM) of a backup that was written with --to, not a passphrase."
    ),
]


def locks_of(recipients: list[Path], passphrase_file: Path | None) -> "list[Lock]":
    """Lock for each public key; with a passphrase if one is given, or no key. Raises WrongUsage, InvalidInput."""
    from appliance.maintenance.backup_lock import Passphrase, PublicKey  # noqa: PLC0415  (heavy: not for --help)

    locks: list[Lock] = [PublicKey.parse(_read(path, "public key"), str(path)) for path in recipients]
    if passphrase_file is not None or not locks:
        locks.append(Passphrase.chosen(new_passphrase(passphrase_file, "for the backup")))
    return locks


def unlock_of(key: Path | None, passphrase_file: Path | None) -> "Unlock":
    """Open with a private key, or a passphrase. Raises WrongUsage, InvalidInput."""
    from appliance.maintenance.backup_lock import Passphrase, PrivateKey  # noqa: PLC0415

    if key is None:
        return Passphrase(_passphrase(passphrase_file, "of the backup"))
    pem = _read(key, "private key")
    locked = b"ENCRYPTED" in pem
    return PrivateKey.parse(pem, str(key), _passphrase(passphrase_file, f"of {key.name}") if locked else None)


def new_passphrase(file: Path | None, what: str) -> bytes:
    """Read a passphrase from a file, or have it typed twice, because nothing else opens what it locks."""
    first = _passphrase(file, what)
    if file is None and getpass.getpass("Once more: ").encode() != first:
        raise WrongUsage("the two passphrases differ", hint="begin again")
    return first


def _passphrase(file: Path | None, what: str) -> bytes:
    if file is not None:
        return _read(file, "passphrase").rstrip(b"\r\n")
    if not sys.stdin.isatty():
        raise WrongUsage(
            f"the passphrase {what} cannot be asked for: this is no terminal",
            hint="write it into a file that only you can read, and name it: --passphrase-file FILE",
        )
    return getpass.getpass(f"Passphrase {what}: ").encode()


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WrongUsage(
            f"the {what} file {path} cannot be read: {error.strerror}", hint="name a file that you can read"
        ) from error
