"""Logging to standard error, which is the journal on a box: one event per line, never a payload."""

import json
import logging
import sys

from appliance.settings import LogSettings

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


def configure_logging(settings: LogSettings) -> None:
    """Apply the settings to the root logger; called again on reload."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else logging.Formatter(_TEXT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level)
    # python-tuf tells of each signature that it did not need.
    logging.getLogger("tuf").setLevel(max(logging.WARNING, root.level))
