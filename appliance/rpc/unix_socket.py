"""Unix sockets that a killed process left behind."""

import socket
import stat
from pathlib import Path

from appliance.errors import Failed


def remove_dead_socket(path: Path) -> None:
    """Make way for a new socket: remove one that nobody listens on.

    Raises Failed if something else is there, or a living server: neither is ours to remove.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Failed(f"cannot listen on unix:{path}: there is a file, and it is not a socket", hint=f"ls -l {path}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise Failed(f"cannot listen on unix:{path}: {error.strerror or error}") from error
    raise Failed(f"cannot listen on unix:{path}: another server listens there", hint=f"ss -lxp src {path}")
