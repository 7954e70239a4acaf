"""The chain of roots on a medium, looked at before python-tuf does: a gap would show as missing signatures."""

import re

from appliance.bundle.layout import METADATA_DIRECTORY, MOST_ROOTS
from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.updates.medium import MetadataSource

_ROOT = re.compile(r"([1-9][0-9]{0,8})\.root\.json")


def require_whole_chain(medium: MetadataSource, trusted: int) -> None:
    """Check that every root after the trusted one up to the medium's newest is there. Raises UpdateRefused."""
    found = {int(match[1]) for name in medium.names(METADATA_DIRECTORY) if (match := _ROOT.fullmatch(name))}
    newest = max(found, default=0)
    if newest - trusted > MOST_ROOTS:
        raise UpdateRefused(
            Refusal.ROOT_CHAIN_GAP,
            f"the medium has root {newest}, this box trusts {trusted}: more than {MOST_ROOTS} steps at once",
            hint="ask the signing station for a bundle in between",
            facts={"have": trusted, "offered": newest},
        )
    missing = [number for number in range(trusted + 1, newest) if number not in found]
    if missing:
        raise UpdateRefused(
            Refusal.ROOT_CHAIN_GAP,
            f"root {missing[0]} is missing on the medium, which goes up to {newest}; this box trusts root {trusted}",
            hint="copy the bundle to the stick again, with all files of metadata/",
            facts={"missing": [str(number) for number in missing[:100]], "have": trusted, "offered": newest},
        )
