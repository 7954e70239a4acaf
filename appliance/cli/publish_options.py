"""Options that the commands of the signing station share, and the station that they lead to."""

import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appliance.cli.exit_codes import WrongUsage

if TYPE_CHECKING:
    from appliance.publish.station import Station

StationOption = Annotated[Path, typer.Option("--station", metavar="DIR", help="The signing station's directory.")]
KeysOption = Annotated[
    list[Path] | None,
    typer.Option("--keys", metavar="DIR", help="Where a safe's key files are plugged in. Any number of times."),
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="File with the passphrase of the key files; without it every file's is asked for.",
    ),
]
DEFAULT_STATION = Path("station")


@contextmanager
def opened_station(
    directory: Path, keys: list[Path] | None, passphrase_file: Path | None, *, new: bool = False
) -> "Iterator[Station]":
    """Hold the station for one command. Raises an ApplianceError."""
    from appliance.publish.station import Station  # noqa: PLC0415  (heavy: not for --help)

    passphrases = _Passphrases(passphrase_file, ask_twice=new)
    with Station.opened(directory, passphrases.of, keys=keys or (), new=new) as station:
        yield station


class _Passphrases:
    """Reads a passphrase from a file, or asks the person at the terminal, who may give one for several files."""

    def __init__(self, file: Path | None, *, ask_twice: bool) -> None:
        self._file = file
        self._ask_twice = ask_twice
        self._last = b""

    def of(self, key_file: str) -> bytes:
        """Return the passphrase of a key file. Raises WrongUsage."""
        if self._file is not None:
            return _from_file(self._file)
        if not sys.stdin.isatty():
            raise WrongUsage(
                f"the passphrase of {key_file} cannot be asked for: this is no terminal",
                hint="write it into a file that only you can read, and name it: --passphrase-file FILE",
            )
        more = " (Enter: the same as before)" if self._last else ""
        asked = getpass.getpass(f"Passphrase of {key_file}{more}: ").encode() or self._last
        if self._ask_twice and asked != self._last and getpass.getpass("Once more: ").encode() != asked:
            raise WrongUsage("the two passphrases differ", hint="begin again")
        self._last = asked
        return asked


def _from_file(path: Path) -> bytes:
    try:
        return path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise WrongUsage(f"the passphrase file {path} cannot be read: {error.strerror}") from error
