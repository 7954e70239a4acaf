"""Sealed boxes, stations and sticks for tests: real keys, real bundles, the real installer, models in NumPy."""

import platform
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from appliance.bundle.policy import Policy
from appliance.bundle.ticket import Devices
from appliance.daemon import offline_updates
from appliance.model.identity import ModelName, ModelVersion
from appliance.publish.ceremony import hold_ceremony
from appliance.publish.cutting import CutRequest, cut
from appliance.publish.items import add_config, add_model, add_publisher, add_site
from appliance.publish.software import add_software
from appliance.publish.station import Station
from appliance.registry.model_registry import ModelRegistry
from appliance.settings import Settings
from appliance.slots.arming import note_ready
from appliance.slots.installing import install_tree
from appliance.slots.places import Places
from appliance.slots.record import SlotName
from appliance.slots.starting import prepare_start
from appliance.updates.audit_log import AuditLog
from appliance.updates.box import Box
from appliance.updates.outcome import UpdateOutcome
from appliance.updates.preparation import ApplyRequest, inspect
from appliance.updates.provisioning import provision
from appliance.updates.software_slots import SoftwareSlots
from appliance.updates.update_run import UpdateProgress
from appliance.updates.update_works import UpdateWorks
from tests.slots.trees import make_tree

PASSPHRASE = b"a few words in a row"
PUBLISHER = "factory"
SITE = "hall-1"
SERIAL = "A1"
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
KEEPS = ModelName("keeps")
ONE, TWO, THREE = ModelVersion(1), ModelVersion(2), ModelVersion(3)

MODEL_TOML = """
backend = "reference"
max_batch_size = 4
licence = "Apache-2.0"
[[input]]
name = "x"
data_type = "TYPE_FP32"
dims = [2]
[[output]]
name = "y"
data_type = "TYPE_FP32"
dims = [2]
"""
GOLDEN_TOML = """
[[sample]]
name = "one"
inputs = { x = "x.npy" }
outputs = { y = "y.npy" }
"""


def write_model(
    directory: Path, version: int, *, toml: str = MODEL_TOML, answer: float | None = None, weights: bytes = b""
) -> Path:
    """Write a package that gives back what it gets. `answer`: what its golden sample claims that it gives for 1."""
    package = directory / f"v{version}" / KEEPS
    (package / str(version)).mkdir(parents=True)
    (package / "model.toml").write_text(toml)
    (package / str(version) / "model.onnx").write_bytes(b"version %d " % version + weights)
    if answer is not None:
        golden = package / "golden"
        golden.mkdir()
        (golden / "golden.toml").write_text(GOLDEN_TOML)
        np.save(golden / "x.npy", np.full((1, 2), 1, np.float32))
        np.save(golden / "y.npy", np.full((1, 2), answer, np.float32))
    return package


def silent(_what: str, _done: int, _total: int) -> None:
    """Nobody watches."""


@dataclass
class Publisher:
    """A station that is opened for each command, as a person does."""

    directory: Path
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @contextmanager
    def opened(self, *, new: bool = False) -> Iterator[Station]:
        with Station.opened(
            self.directory / "station", lambda _: PASSPHRASE, new=new, now=lambda: self.now, kdf_rounds=1
        ) as station:
            yield station

    def hold_ceremony(self, policy: Policy | None = None) -> None:
        with self.opened(new=True) as station:
            hold_ceremony(station, policy or Policy())
            add_publisher(station, PUBLISHER)
            add_site(station, SITE)
            add_site(station, "hall-2")

    def add(self, package: Path, part_bytes: int = 1 << 20) -> None:
        with self.opened() as station:
            add_model(station, package, PUBLISHER, silent, part_bytes)

    def add_settings(self, data: bytes, site: str = SITE, name: str = "main") -> None:
        with self.opened() as station:
            add_config(station, site, name, data)

    def cut(self, name: str, request: CutRequest | None = None) -> Path:
        """Write a stick of that name; returns where it is mounted."""
        place = self.directory / "sticks" / name
        place.mkdir(parents=True)
        with self.opened() as station:
            cut(station, request or CutRequest(Devices(all=True)), place, silent)
        return place

    def stick(self, version: int, **model: object) -> Path:
        """Add that version of the usual model, and write a stick `v<version>` with it alone."""
        self.add(write_model(self.directory / "packages", version, **model))  # type: ignore[arg-type]
        items = (f"models/{PUBLISHER}/{KEEPS}/{version}.json",)
        return self.cut(f"v{version}", CutRequest(Devices(all=True), items=items))

    def release(self, version: str, *, data_epoch: int = 1, python: str = THIS_PYTHON, **tree: str) -> Path:
        """Sign a small release of the software, and write a stick `s<version>` with it alone."""
        directory = self.directory / "trees" / version
        make_tree(directory, version, data_epoch=data_epoch, python=python, machine=platform.machine(), **tree)
        with self.opened() as station:
            target = add_software(station, directory, silent, 1 << 12)
        return self.cut(f"s{version}", CutRequest(Devices(all=True), items=(target,)))

    def variants(self, version: str) -> list[str]:
        """Sign one release for boxes with a GPU and one for the others; returns their targets."""
        targets = []
        for variant in ("cpu", "gpu"):
            directory = self.directory / "trees" / f"{version}-{variant}"
            make_tree(directory, version, python=THIS_PYTHON, machine=platform.machine(), variant=variant)
            with self.opened() as station:
                targets.append(add_software(station, directory, silent, 1 << 12))
        return targets

    def cut_short(self, version: int) -> Path:
        """Write a stick that has to be installed within a day."""
        self.add(write_model(self.directory / "packages", version))
        return self.cut("short", CutRequest(Devices(all=True), install_by=self.now + timedelta(days=1)))

    @property
    def root(self) -> bytes:
        return (self.directory / "station" / "metadata" / "1.root.json").read_bytes()


class SealedBox:
    """One box, worked on without a daemon. `clock`: what its clock says, None: the machine's."""

    def __init__(self, state: Path, clock: datetime | None = None) -> None:
        # The path of a Unix socket has at most 107 bytes, pytest's own directories are longer.
        self.runtime = Path(tempfile.mkdtemp(prefix="a-"))
        self.settings = Settings(state_directory=state, runtime_directory=self.runtime)
        self.layout = self.settings.layout
        self.clock = clock
        self.running: SlotName | None = None  # the slot whose software this process plays
        self.steps: list[str] = []

    def now(self) -> datetime:
        return self.clock or datetime.now(UTC)

    def seal(self, root: bytes, *, serial: str = SERIAL, groups: Sequence[str] = ()) -> None:
        provision(
            self.layout,
            root,
            serial=serial,
            hardware="pc",
            site=SITE,
            groups=groups,
            now=self.now,
        )

    def apply(self, place: Path, **request: object) -> UpdateOutcome:
        wanted = replace(ApplyRequest(place), **request)  # type: ignore[arg-type]
        self.steps.clear()
        return self._run(lambda works: works.apply(wanted))

    def roll_back(self) -> UpdateOutcome:
        return self._run(lambda works: works.roll_back())

    def install_software(self, tree: Path) -> None:
        """Put the first software into slot A, as an installation does."""
        install_tree(self.places, tree, lambda _: None)
        self.running = SlotName.A

    @property
    def places(self) -> Places:
        return Places(self.layout.root, self.runtime / "rescue", self.runtime)

    def start(self) -> str:
        """Start the service as far as the selector goes: whose software runs from now on. Returns its story."""
        begun = prepare_start(self.places, [], lambda _: None)
        record = self.places.slots.read()
        self.running = record.run.slot if record.run is not None else None
        return "; ".join(begun.story)

    def finish_open(self, *, ready: bool = True) -> UpdateOutcome | None:
        """What the service does when its models are loaded, systemd has heard it, and it has lived for a while."""
        if ready and self.places.slots.exists:
            note_ready(self.places.slots)

        async def finish(works: UpdateWorks) -> AsyncIterator[UpdateProgress | UpdateOutcome]:
            await works.recover()
            yield await works.finish_open() or UpdateOutcome(0, "NOTHING", "no update is open")

        outcome = self._run(finish)
        return None if outcome.result == "NOTHING" else outcome

    def _run(self, work: offline_updates.Work) -> UpdateOutcome:
        slots = SoftwareSlots(self.places.slots, self.running, THIS_PYTHON, platform.machine(), "cpu")
        return offline_updates.run_offline(self.settings, work, self._note, self.now, slots)

    def inspect(self, place: Path) -> UpdateOutcome:
        with self.box() as box:
            return inspect(box, ApplyRequest(place))

    @contextmanager
    def box(self) -> Iterator[Box]:
        with ModelRegistry.open(self.layout) as registry:
            slots = SoftwareSlots(self.places.slots, self.running, THIS_PYTHON, platform.machine(), "cpu")
            yield Box.of(self.settings, registry, has_gpu=lambda: False, now=self.now, slots=slots)

    def desired(self) -> ModelVersion | None:
        with self.box() as box:
            return box.registry.desired([KEEPS])[KEEPS]

    def audit(self) -> AuditLog:
        return AuditLog(self.layout.audit, self.now)

    def events(self) -> list[str]:
        return [entry.event for entry in self.audit().entries()]

    def close(self) -> None:
        shutil.rmtree(self.runtime, ignore_errors=True)

    def _note(self, progress: UpdateProgress) -> None:
        if not self.steps or self.steps[-1] != progress.step:
            self.steps.append(progress.step)
