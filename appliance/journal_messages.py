"""The events that the journal's catalog explains: `journalctl -x` says what happened, what is safe, what to type.

A log call names one with `extra=told(Event.X)`; the texts are in systemd/appliance.catalog. Never reuse a number.
"""

from collections.abc import Mapping
from enum import Enum

FIELD = "message_id"  # of a log record


class Event(Enum):
    """One kind of event, with the MESSAGE_ID that systemd knows it by."""

    READY = "0c2f6b9d6a8e4f1fb1d2a4f1c7a90e01"
    MODEL_NOT_SERVED = "0c2f6b9d6a8e4f1fb1d2a4f1c7a90e02"
    HUNG = "0c2f6b9d6a8e4f1fb1d2a4f1c7a90e03"
    DEVICE_LOST = "0c2f6b9d6a8e4f1fb1d2a4f1c7a90e04"
    RESCUE = "0c2f6b9d6a8e4f1fb1d2a4f1c7a90e05"
    UPDATE_FINISHED = "0c2f6b9d6a8e4f1fb1d2a4f1c7a90e06"
    UPDATE_TAKEN_BACK = "0c2f6b9d6a8e4f1fb1d2a4f1c7a90e07"
    SOFTWARE_KEPT = "0c2f6b9d6a8e4f1fb1d2a4f1c7a90e08"
    SOFTWARE_FAILED = "0c2f6b9d6a8e4f1fb1d2a4f1c7a90e09"
    RELOAD_REFUSED = "0c2f6b9d6a8e4f1fb1d2a4f1c7a90e0a"
    EXECUTION_CRASHED = "0c2f6b9d6a8e4f1fb1d2a4f1c7a90e0c"
    NOT_DRAINED = "0c2f6b9d6a8e4f1fb1d2a4f1c7a90e0b"
    DEAF = "0c2f6b9d6a8e4f1fb1d2a4f1c7a90e0d"


def told(event: Event) -> Mapping[str, str]:
    """Give a log call the number of its event."""
    return {FIELD: event.value}
