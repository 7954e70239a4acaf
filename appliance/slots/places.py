"""Where an installed box keeps things, as the selector sees it."""

from dataclasses import dataclass
from pathlib import Path

from appliance.slots.store import SlotStore

_STATE = Path("/var/lib/appliance")
_TREES = Path("/var/lib/appliance-software")


@dataclass(frozen=True, slots=True)
class Places:
    """Of one box; others for tests. The state and `runtime` are the service's, the rest is root's."""

    state: Path = _STATE
    rescue: Path = Path("/usr/lib/appliance/rescue")
    runtime: Path = Path("/run/appliance")
    boot_id_file: Path = Path("/proc/sys/kernel/random/boot_id")

    @property
    def slots(self) -> SlotStore:
        """The slots and their record."""
        return SlotStore(self.state / "slots", _TREES if self.state == _STATE else None)

    @property
    def rescued(self) -> Path:
        """There while the rescue software runs in place of the slots."""
        return self.runtime / "rescued"

    @property
    def database(self) -> Path:
        """The registry."""
        return self.state / "registry.db"

    def boot_id(self) -> str:
        """Tell one start of the machine from another; '' if the kernel does not say."""
        try:
            return self.boot_id_file.read_text().strip()
        except OSError:
            return ""
