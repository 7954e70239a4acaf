"""sd_notify in a few lines: readiness, status line, watchdog (see sd_notify(3)). Silent without systemd."""

import logging
import socket
import time

logger = logging.getLogger(__name__)


class SystemdNotifier:
    """Sends datagrams to NOTIFY_SOCKET."""

    def __init__(self, notify_socket: str) -> None:
        self._address = "\0" + notify_socket[1:] if notify_socket.startswith("@") else notify_socket

    @property
    def listens(self) -> bool:
        """Whether a service manager is there, which starts again what ends."""
        return bool(self._address)

    def ready(self, status: str) -> None:
        """Start-up is complete."""
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """Say in one line what is going on."""
        self._send(f"STATUS={status}")

    def extend_timeout(self, seconds: float) -> None:
        """Start or stop takes longer: give `seconds` from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def reloading(self) -> None:
        """Settings are being read again."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The service is going down."""
        self._send("STOPPING=1\nSTATUS=draining")

    def watchdog(self) -> None:
        """A sign of life."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
            try:
                connection.sendto(message.encode(errors="backslashreplace"), self._address)
            except OSError as error:  # serving does not depend on who watches
                logger.warning("systemd does not hear '%s': %s", message.partition("=")[0], error)
