"""An inference appliance that its owner controls completely."""

from datetime import UTC, datetime

__version__ = "0.1.0"
RELEASED = datetime(2026, 11, 23, tzinfo=UTC)  # of this version: a clock that says less is wrong
