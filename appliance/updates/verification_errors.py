"""python-tuf's errors as refusals that a technician can act on: which class, found and expected, what to do."""

import re

from tuf.api import exceptions

from appliance.bundle.refusal import Refusal, UpdateRefused

_COPY_AGAIN = "copy the bundle to the stick again"
_SIGNED_BY = re.compile(r"(\S+) was signed by (\d+)/(\d+) keys")
_MOST_CHARACTERS = 200
# How python-tuf says that something is older: of the timestamp, of the snapshot, of a role in the snapshot.
_OLDER = (
    re.compile(r"New (?P<role>timestamp) version (?P<offered>\d+) must be >= (?P<have>\d+)"),
    re.compile(r"New (?P<role>snapshot) version must be >= (?P<have>\d+), got version (?P<offered>\d+)"),
    re.compile(r"Expected (?P<role>.+)\.json version (?P<offered>\d+), got (?P<have>\d+)"),
)
_LEFT_OUT = re.compile(r"New snapshot is missing info for '(.+)\.json'")


def refusal_of(error: Exception, have: dict[str, int]) -> UpdateRefused:
    """Translate what verification raised. `have`: the versions that this box trusts."""
    text = _readable(str(error) or type(error).__name__)
    if isinstance(error, exceptions.DownloadError):
        return _unreadable(error, text)
    if isinstance(error, exceptions.RepositoryError) and (older := _older(text, have)) is not None:
        return older
    match error:
        case exceptions.UnsignedMetadataError():
            return _unsigned(text)
        case exceptions.ExpiredMetadataError():
            return _expired(text)
        case exceptions.LengthOrHashMismatchError() | exceptions.BadVersionNumberError():
            return _mismatch(text)
        case _:
            return _untrusted(text)


def _readable(text: str) -> str:
    """Show what a stranger may have written: short, and nothing that a terminal would obey."""
    shown = "".join(character if character.isprintable() else "?" for character in text[:_MOST_CHARACTERS])
    return shown if len(text) <= _MOST_CHARACTERS else f"{shown}..."


def _older(text: str, have: dict[str, int]) -> UpdateRefused | None:
    if left_out := _LEFT_OUT.fullmatch(text):
        return rollback(left_out[1], have.get(left_out[1], 0), 0)
    for pattern in _OLDER:
        if found := pattern.match(text):
            return rollback(found["role"], int(found["have"]), int(found["offered"]))
    return None


def rollback(role: str, have: int, offered: int) -> UpdateRefused:
    """Refuse an older bundle."""
    return UpdateRefused(
        Refusal.ROLLBACK,
        f"the bundle is older than what this box has: its {role} is version {offered}, this box has {have}",
        hint="use the newest stick; to go back to the models before: appliance update rollback",
        facts={"role": role, "have": have, "offered": offered},
    )


def missing(path: str) -> UpdateRefused:
    """Refuse a bundle that is not whole."""
    return UpdateRefused(
        Refusal.INCOMPLETE_MEDIUM,
        f"{path} is not on the medium",
        hint=_COPY_AGAIN,
        facts={"missing": [path]},
    )


def _unsigned(text: str) -> UpdateRefused:
    found = _SIGNED_BY.search(text)
    role, got, need = found.groups() if found else ("metadata", "0", "1")
    if got == "0":
        return UpdateRefused(
            Refusal.BAD_SIGNATURE,
            f"'{role}' of the bundle is not signed by anybody whom this box trusts for it",
            hint="is it the right owner's stick? If it is, report it to the signing station",
            facts={"role": role, "got": 0, "need": int(need)},
        )
    return UpdateRefused(
        Refusal.THRESHOLD,
        f"'{role}' of the bundle is signed by {got} of the {need} people who must sign it",
        hint="report it to the signing station: signatures are missing",
        facts={"role": role, "got": int(got), "need": int(need)},
    )


def _mismatch(text: str) -> UpdateRefused:
    return UpdateRefused(
        Refusal.HASH_MISMATCH,
        f"the bundle was changed or copied badly: {text}",
        hint=f"{_COPY_AGAIN}, or use another stick",
        facts={"reason": text},
    )


def _unreadable(error: exceptions.DownloadError, text: str) -> UpdateRefused:
    match error:
        case exceptions.DownloadHTTPError():
            return missing(text.partition(" is not on")[0])
        case exceptions.DownloadLengthMismatchError():
            return _mismatch(text)
        case _:
            return UpdateRefused(
                Refusal.MEDIUM_IO, text, hint="is the stick still plugged in? Try again", facts={"reason": text}
            )


def _expired(text: str) -> UpdateRefused:
    return UpdateRefused(
        Refusal.EXPIRED,
        f"the bundle's time is over: {text}",
        hint="ask the signing station for a new bundle",
        facts={"what": text},
    )


def _untrusted(text: str) -> UpdateRefused:
    return UpdateRefused(
        Refusal.BAD_SIGNATURE,
        f"the bundle's metadata cannot be trusted: {text}",
        hint=f"{_COPY_AGAIN}; if it is refused again, report it to the signing station",
        facts={"reason": text},
    )
