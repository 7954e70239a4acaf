"""Logging to standard error, which is the journal on a box: one event per line, never a payload."""

import json
import logging
import sys

from appliance.daemon.journal_handler import JournalHandler
from appliance.process_environment import stderr_is_the_journal
from appliance.settings import LogSettings

_IN_THE_JOURNAL = "%(name)s: %(message)s"  # which knows time and level
_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """One JSON object per event."""

    def format(self, record: logging.LogRecord) -> str:
        """Write time (ISO 8601), level, logger, message and, if any, the exception."""
        event = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json.dumps(event)


def _handler(settings: LogSettings) -> logging.Handler:
    if settings.format == "text" and stderr_is_the_journal():
        journal: logging.Handler = JournalHandler()
        journal.setFormatter(logging.Formatter(_IN_THE_JOURNAL))
        return journal
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else logging.Formatter(_TEXT))
    return handler


def configure_logging(settings: LogSettings) -> None:
    """Apply the settings to the root logger; called again on reload."""
    root = logging.getLogger()
    for before in root.handlers:
        if isinstance(before, JournalHandler):
            before.close()
    root.handlers[:] = [_handler(settings)]
    root.setLevel(settings.level)
    # python-tuf tells of each signature that it did not need.
    logging.getLogger("tuf").setLevel(max(logging.WARNING, root.level))
