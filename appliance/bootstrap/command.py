"""`bootstrap.pyz`: checks a medium for a box that trusts nobody yet, and lays its software out in a directory."""

import argparse
import hashlib
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from appliance.bootstrap.chain import Chain, expired
from appliance.bootstrap.openssl import OpenSsl
from appliance.bootstrap.order import Order, release_for
from appliance.bootstrap.taking import take
from appliance.bundle.layout import TICKET_TARGET
from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.bundle.software_item import SoftwareItem
from appliance.errors import ApplianceError
from appliance.slots.tree import VARIANTS
from appliance.updates.medium import Medium

_CLOCK_TOLERANCE = timedelta(hours=24)
_FINGERPRINT_DIGITS = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it and return its exit status: that of the refusal, 1 for other failures, 2 for wrong usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    os.umask(0o022)
    try:
        fingerprint = _fingerprint(parser, options.medium, options.root, options.root_fingerprint)
        with Medium.open(options.medium, options.bundle) as medium:
            chain = Chain.verified(medium, fingerprint, OpenSsl.found())
            order, item = _ordered(chain, datetime.now(UTC), options.variant)
            _say(f"software {item.version} for {item.software.kind}")
            _say(f"the owner is the one whose root has the fingerprint {fingerprint}")
            _say(f"ticket {order.ticket} is for {order.devices}: this box has no name yet, compare it yourself")
            take(medium, item, chain.first_root, options.out)
    except ApplianceError as error:
        _say(f"error: {error.message}", prefix="")
        _say(f"next: {error.hint or 'look at the medium, and try again'}", prefix="")
        return error.reason.value if isinstance(error, UpdateRefused) else 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bootstrap.pyz", description=__doc__)
    parser.add_argument("medium", type=Path, metavar="MEDIUM", help="where the stick is mounted")
    parser.add_argument("--root-fingerprint", default="", metavar="SHA256", help="of the owner's root.json")
    parser.add_argument("--root", type=Path, metavar="FILE", help="the owner's root.json, brought another way")
    parser.add_argument("--bundle", default="", metavar="NAME", help="which bundle, if there are several")
    parser.add_argument("--variant", default="", choices=VARIANTS, help="which software, if the bundle brings both")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="an empty directory")
    return parser


def _fingerprint(parser: argparse.ArgumentParser, medium: Path, file: Path | None, text: str) -> str:
    """Return what a person vouches for, in 64 hex digits. Ends the program with 2 where that is nothing."""
    if (file is None) == (not text):
        parser.error("whom shall this box trust? Expected --root-fingerprint SHA256, or else --root FILE")
    if file is None:
        digits = text.replace(":", "").replace(" ", "").lower()
        if len(digits) != _FINGERPRINT_DIGITS or not set(digits) <= set("0123456789abcdef"):
            parser.error(
                f"--root-fingerprint is {text[:80]!r}, expected 64 hex digits: at the station, appliance publish show"
            )
        return digits
    if file.resolve().is_relative_to(medium.resolve()):
        parser.error(f"{file} lies on the medium that it shall vouch for: bring it another way")
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        parser.error(f"{file} cannot be read: {error.strerror}")


def _ordered(chain: Chain, clock: datetime, variant: str) -> tuple[Order, SoftwareItem]:
    """Return the ticket and the release for this machine, all of it in time. Raises UpdateRefused."""
    order = Order.parse(chain.target(TICKET_TARGET))
    offered = [(path, _as_ordered(chain, path, sha256)) for path, sha256 in order.software.items()]
    now, told = _judged(clock, order.issued)
    if order.install_by < now:
        raise expired(f"ticket {order.ticket}", order.install_by, told)
    chain.require_in_time(now, told)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return order, release_for(offered, python, platform.machine(), variant)


def _as_ordered(chain: Chain, path: str, sha256: str) -> bytes:
    data = chain.target(path)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UpdateRefused(
            Refusal.HASH_MISMATCH,
            f"{path} is signed with other content than the ticket names",
            hint="ask the signing station for a new bundle: this one is put together wrongly",
        )
    return data


def _judged(clock: datetime, issued: datetime) -> tuple[datetime, str]:
    """Return the time that counts, and how it is known: it cannot be before the ticket was signed."""
    shown = f"the clock of this box says {clock:%Y-%m-%d %H:%M} UTC"
    if clock >= issued - _CLOCK_TOLERANCE:
        return max(clock, issued), f"{shown}, which nothing here can confirm"
    told = f"{shown}, but the ticket was signed on {issued:%Y-%m-%d %H:%M} UTC: the clock is wrong, and that is taken"
    _say(f"warning: {told}; an old stick would not be noticed")
    return issued, told


def _say(text: str, prefix: str = "appliance: ") -> None:
    print(f"{prefix}{text}", file=sys.stderr)  # noqa: T201  (the story)


if __name__ == "__main__":
    sys.exit(main())
