"""Whether the native transport's extension can be loaded, and over which core: tried in another process.

Whoever asks may have grpcio in its own, and two cores of gRPC in one process are known to crash it.
"""

import subprocess
import sys

from appliance.errors import Failed

_PATIENCE_S = 20.0
_ASK_VERSION = "import appliance_native; print(appliance_native.GRPC_CORE_VERSION)"


def native_core_version() -> str:
    """Return the version of gRPC's core under the native transport. Raises Failed if that cannot be loaded."""
    command = [sys.executable, "-c", _ASK_VERSION]
    try:
        tried = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"the native transport cannot be loaded: {error}") from error
    if tried.returncode != 0:
        reason = tried.stderr.strip().rpartition("\n")[2] or f"status {tried.returncode}"
        raise Failed(f"the native transport cannot be loaded: {reason}")
    return tried.stdout.strip()
