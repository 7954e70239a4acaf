"""How a method that failed is told to its client: gRPC's code and a sentence, on every transport alike."""

import asyncio
import logging

from appliance.errors import ApplianceError
from appliance.rpc.status import CANCELLED, INTERNAL, status_code

logger = logging.getLogger(__name__)

_LONGEST_DETAILS = 600  # characters; each may take 12 bytes (percent-encoded), and clients take 8 KiB of headers


def outcome(error: BaseException) -> tuple[int, str]:
    """Return code and details for a failure; what nobody foresaw is logged, and the client hears only its type."""
    if isinstance(error, ApplianceError):
        return status_code(error), _fitting(_as_text(str(error)))
    if isinstance(error, asyncio.CancelledError):
        return CANCELLED, "the server has cancelled the call"
    logger.error("a method failed", exc_info=error)
    return INTERNAL, f"internal error: {type(error).__name__}"


def _as_text(details: str) -> str:
    """Spell out what is no character, because a name in a request may hold one and no transport could send it."""
    return details.encode(errors="backslashreplace").decode()


def _fitting(details: str) -> str:
    """Shorten a sentence in its middle: it travels in a header, and clients drop an answer with long headers."""
    if len(details) <= _LONGEST_DETAILS:
        return details
    half = _LONGEST_DETAILS // 2
    return f"{details[:half]} [...] {details[-half:]}"
