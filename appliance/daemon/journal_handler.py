"""Log records to systemd's journal in its own form, with their level and the number of their event.

Through standard error the journal would take every line for one of the same importance, and know no event. The form:
systemd's "Native Journal Protocol", one datagram of FIELD=value lines, longer values with their length before them.
"""

import logging
import socket
import struct
from pathlib import Path

from appliance.journal_messages import FIELD

JOURNAL = Path("/run/systemd/journal/socket")
_LONGEST_MESSAGE = 32 * 1024  # a datagram has an end
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))


class JournalHandler(logging.Handler):
    """Sends each record; what cannot be sent is written to standard error, and nothing is lost."""

    def __init__(self, path: Path = JOURNAL) -> None:
        super().__init__()
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._otherwise = logging.StreamHandler()

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        try:
            self._socket.sendto(self._datagram(record), self._path)
        except OSError:
            self._otherwise.emit(record)

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()
        super().close()

    def _datagram(self, record: logging.LogRecord) -> bytes:
        priority = next(number for level, number in _PRIORITIES if record.levelno >= level)
        fields = {
            "MESSAGE": self.format(record)[:_LONGEST_MESSAGE],
            "PRIORITY": str(priority),
            "LOGGER": record.name,
            "SYSLOG_IDENTIFIER": "appliance",
            "MESSAGE_ID": getattr(record, FIELD, ""),
        }
        return b"".join(_field(name, value.encode(errors="replace")) for name, value in fields.items() if value)


def _field(name: str, value: bytes) -> bytes:
    if b"\n" not in value:
        return name.encode() + b"=" + value + b"\n"
    return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
