"""Where everything is kept: every path on the disk of one appliance."""

from pathlib import Path

SYSTEM_STATE_DIRECTORY = Path("/var/lib/appliance")
SYSTEM_RUNTIME_DIRECTORY = Path("/run/appliance")
SYSTEM_CACHE_DIRECTORY = Path("/var/cache/appliance")
SYSTEM_SOFTWARE_DIRECTORY = Path("/var/lib/appliance-software")  # root's
SYSTEM_SOFTWARE_SOCKET = Path("/run/appliance-software.sock")
SYSTEM_MEDIA_DIRECTORY = Path("/run/appliance-media")  # where this box itself mounts sticks
LONGEST_SOCKET_PATH_BYTES = 107  # sun_path in unix(7)


class StateLayout:
    """Every path on disk."""

    def __init__(self, root: Path, runtime: Path | None = None) -> None:
        self.root = root.absolute()
        self._runtime = runtime.absolute() if runtime else None

    @property
    def is_installed(self) -> bool:
        """Whether this is the state of the box's own service."""
        return self.root == SYSTEM_STATE_DIRECTORY

    @property
    def blobs(self) -> Path:
        """Content-addressed files, `sha256/<hex>`."""
        return self.root / "blobs"

    @property
    def database(self) -> Path:
        """The registry (SQLite)."""
        return self.root / "registry.db"

    @property
    def views(self) -> Path:
        """One directory per version, hard links into the blobs: what a runtime opens."""
        return self.root / "views"

    @property
    def staging(self) -> Path:
        """Half-written things; emptied at start."""
        return self.root / "staging"

    @property
    def partial_blobs(self) -> Path:
        """Content on its way from a medium, kept so that a staging that was cut off goes on where it stopped."""
        return self.blobs / "partial"

    @property
    def quarantine(self) -> Path:
        """Content that rotted: kept to be looked at, never served."""
        return self.root / "quarantine"

    @property
    def device(self) -> Path:
        """Who this box is: identity.json, the first root of trust, the key that signs receipts."""
        return self.root / "device"

    @property
    def identity(self) -> Path:
        """The provisioning file: where it is, the box is sealed."""
        return self.device / "identity.json"

    @property
    def trust(self) -> Path:
        """What was verified last: generations of TUF metadata and the version floors."""
        return self.root / "trust"

    @property
    def updates(self) -> Path:
        """The open update's journal, the clock's floor, and the site's signed settings."""
        return self.root / "updates"

    @property
    def receipts(self) -> Path:
        """Receipts that no medium has taken yet."""
        return self.root / "receipts"

    @property
    def slots(self) -> Path:
        """The record of which copy of this software runs, and copies of the registry from before a change of form."""
        return self.root / "slots"

    @property
    def software(self) -> Path:
        """The two copies of this software; on an installed box they are root's, out of the service's reach."""
        return SYSTEM_SOFTWARE_DIRECTORY if self.is_installed else self.slots

    @property
    def anchor(self) -> Path:
        """What decides about software on an installed box: the owner's root of trust as root keeps it."""
        return self.software / "trust"

    @property
    def audit(self) -> Path:
        """The hash-chained log and its head."""
        return self.root / "audit"

    @property
    def engines(self) -> Path:
        """TensorRT engines: derived from models for this box, deletable."""
        cache = SYSTEM_CACHE_DIRECTORY if self.is_installed else self.root / "cache"
        return cache / "engines"

    @property
    def runtime(self) -> Path:
        """Sockets and locks of a running daemon."""
        if self._runtime is not None:
            return self._runtime
        return SYSTEM_RUNTIME_DIRECTORY if self.is_installed else self.root / "run"

    @property
    def socket(self) -> Path:
        """The inference service's Unix socket."""
        return self.runtime / "appliance.sock"

    @property
    def admin_socket(self) -> Path:
        """The administration socket, for the command line only (mode 0600)."""
        return self.runtime / "admin.sock"

    @property
    def executing(self) -> Path:
        """Which loaded versions execute now: what a daemon that died says to the next one."""
        return self.runtime / "executing"

    @property
    def lock(self) -> Path:
        """Held by the daemon that serves this state directory, or by what works in its place."""
        return self.runtime / "daemon.lock"
