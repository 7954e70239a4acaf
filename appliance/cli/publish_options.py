"""Options that the commands of the signing station share, and the station that they lead to."""

import getpass
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appliance.cli.exit_codes import WrongUsage
from appliance.cli.output import progress

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

    asked = _Secrets(passphrase_file)
    with Station.opened(
        directory, asked.of_file, new_passphrase=asked.of_new_file, pin=asked.of_token, keys=keys or (), new=new
    ) as station:
        yield station


@contextmanager
def late_progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show how far a long step is, from its first sign of life on: a bar must not run through a question."""
    with ExitStack() as shown:
        begun: list[Callable[[str, int, int], None]] = []

        def advance(what: str, done: int, total: int) -> None:
            if not begun:
                begun.append(shown.enter_context(progress()))
            begun[0](what, done, total)

        yield advance


class _Secrets:
    """Reads the passphrase of key files from a file, or asks the person at the terminal.

    One answer may do for several key files. A PIN is never taken from there: tokens lock themselves after a few
    wrong ones.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._last = b""

    def of_file(self, name: str) -> bytes:
        """Return the passphrase of a key file. Raises WrongUsage."""
        if self._file is not None:
            return _from_file(self._file)
        _require_terminal(f"the passphrase of {name}")
        self._last = getpass.getpass(f"Passphrase of {name}{self._more()}: ").encode() or self._last
        return self._last

    def of_new_file(self, name: str) -> bytes:
        """Return the passphrase of a key file that is made: typed twice, because nothing else opens it."""
        if self._file is not None:
            return _from_file(self._file)
        _require_terminal(f"the passphrase of {name}")
        asked = getpass.getpass(f"Passphrase for the new {name}{self._more()}: ").encode() or self._last
        if asked != self._last and getpass.getpass("Once more: ").encode() != asked:
            raise WrongUsage("the two passphrases differ", hint="begin again")
        self._last = asked
        return asked

    def of_token(self, name: str) -> bytes:
        """Return the PIN of a token. Raises WrongUsage."""
        _require_terminal(f"the PIN of {name}")
        return getpass.getpass(f"PIN of {name}: ").encode()

    def _more(self) -> str:
        return " (Enter: the same as before)" if self._last else ""


def _require_terminal(what: str) -> None:
    if not sys.stdin.isatty():
        hint = "write it into a file that only you can read, and name it: --passphrase-file FILE"
        raise WrongUsage(
            f"{what} cannot be asked for: this is no terminal",
            hint="type it at a terminal" if what.startswith("the PIN") else hint,
        )


def _from_file(path: Path) -> bytes:
    try:
        return path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise WrongUsage(f"the passphrase file {path} cannot be read: {error.strerror}") from error
