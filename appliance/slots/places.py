"""Where an installed box keeps things, as the selector sees it."""

from dataclasses import dataclass
from pathlib import Path

from appliance.slots.store import SlotStore
from appliance.state_layout import SYSTEM_RUNTIME_DIRECTORY, SYSTEM_STATE_DIRECTORY, StateLayout


@dataclass(frozen=True, slots=True)
class Places:
    """Of one box; others for tests. The state and `runtime` are the service's, the rest is root's."""

    state: Path = SYSTEM_STATE_DIRECTORY
    rescue: Path = Path("/usr/lib/appliance/rescue")
    runtime: Path = SYSTEM_RUNTIME_DIRECTORY
    boot_id_file: Path = Path("/proc/sys/kernel/random/boot_id")

    @property
    def slots(self) -> SlotStore:
        """The slots and their record."""
        layout = StateLayout(self.state)
        return SlotStore(layout.slots, layout.software)

    @property
    def rescued(self) -> Path:
        """There while the rescue software runs in place of the slots."""
        return self.runtime / "rescued"

    @property
    def database(self) -> Path:
        """The registry."""
        return StateLayout(self.state).database

    def boot_id(self) -> str:
        """Tell one start of the machine from another; '' if the kernel does not say."""
        try:
            return self.boot_id_file.read_text().strip()
        except OSError:
            return ""
