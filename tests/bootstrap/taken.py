"""How a run of the program ended."""

from dataclasses import dataclass
from pathlib import Path

from appliance.bootstrap.taking import OWNER_ROOT


@dataclass(frozen=True, slots=True)
class Taken:
    status: int
    said: str
    out: Path

    @property
    def root(self) -> Path:
        return self.out / "root"


def assert_refused(taken: Taken, status: int, said: str) -> None:
    assert (taken.status, said in taken.said) == (status, True), taken.said
    assert "\nnext: " in f"\n{taken.said}"
    assert "Traceback" not in taken.said
    assert not (taken.root / OWNER_ROOT).exists()
