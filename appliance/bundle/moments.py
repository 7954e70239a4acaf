"""Moments as they stand in signed documents: seconds in UTC, `2026-11-23T10:00:00Z`."""

from datetime import UTC, datetime

from appliance.errors import InvalidInput

_FORM = "%Y-%m-%dT%H:%M:%SZ"


def moment_text(moment: datetime) -> str:
    """Write a moment, to the second."""
    return moment.astimezone(UTC).strftime(_FORM)


def parse_moment(text: str, what: str = "moment") -> datetime:
    """Read a moment. Raises InvalidInput."""
    try:
        return datetime.strptime(text, _FORM).replace(tzinfo=UTC)
    except ValueError:
        raise InvalidInput(f"{what} is {text[:40]!r}, expected the form 2026-11-23T10:00:00Z") from None
