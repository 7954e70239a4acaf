"""What an accepted ticket means on this box. Pure: the signed items and what is here already come in."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from appliance.bundle.layout import config_target, model_target
from appliance.bundle.model_item import ModelItem
from appliance.bundle.oci_layers import ItemFile, digest_of_bytes
from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.bundle.ticket import Ticket, TicketItem
from appliance.model.identity import Digest, ModelName, ModelVersion
from appliance.updates.planned_software import PlannedSoftware, SlotFacts, planned_software


@dataclass(frozen=True, slots=True)
class PlannedModel:
    """One model version. `data`: the signed manifest as it stands on the medium. `missing`: files to be staged."""

    target: TicketItem
    data: bytes
    item: ModelItem
    missing: Mapping[Digest, ItemFile]


@dataclass(frozen=True, slots=True)
class PlannedSettings:
    """The site's settings, as they stand on the medium."""

    target: TicketItem
    data: bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that will be done. `skipped`: paths of items for other sites."""

    ticket: Ticket
    models: tuple[PlannedModel, ...]
    settings: PlannedSettings | None
    skipped: tuple[str, ...]
    software: PlannedSoftware | None = None

    @property
    def files(self) -> dict[Digest, ItemFile]:
        """Every file of every model, and the software's archive if it is needed."""
        files = {file.digest: file for model in self.models for file in model.item.files.values()}
        return files | dict(self.software.missing if self.software is not None else {})

    @property
    def content(self) -> set[Digest]:
        """Everything that garbage collection must leave alone meanwhile: files and manifests, ours and the signed."""
        documents = {digest_of_bytes(model.data) for model in self.models} | {
            model.item.manifest for model in self.models
        }
        return {*self.files, *documents}

    @property
    def missing(self) -> dict[Digest, ItemFile]:
        """Every file that is not here yet."""
        missing = {digest: file for model in self.models for digest, file in model.missing.items()}
        return missing | dict(self.software.missing if self.software is not None else {})

    @property
    def stage_bytes(self) -> int:
        """How much will be read from the medium and written."""
        return sum(file.size_bytes for file in self.missing.values())

    @property
    def slot_bytes(self) -> int:
        """How much a release needs beside its archive."""
        return self.software.item.unpacked_bytes if self.software is not None and self.software.missing else 0

    @property
    def desired(self) -> dict[ModelName, ModelVersion]:
        """What shall serve afterwards; of one name the newest."""
        newest: dict[ModelName, ModelVersion] = {}
        for model in self.models:
            newest[model.item.name] = max(model.item.version, newest.get(model.item.name, model.item.version))
        return newest


def make_plan(
    ticket: Ticket,
    contents: Sequence[tuple[TicketItem, bytes]],
    present: Collection[Digest],
    site: str,
    slots: SlotFacts | None,
) -> Plan:
    """Read the signed contents of a ticket's items. `slots` None: this box takes no software.

    Raises UpdateRefused where they do not fit together.
    """
    models = tuple(_planned_model(target, data, present) for target, data in contents if target.kind == "model")
    twice = [model.item for model in models if sum(_same(model.item, other.item) for other in models) > 1]
    if twice:
        raise UpdateRefused(
            Refusal.PRECONDITION,
            f"the bundle brings '{twice[0].name}' version {twice[0].version} twice, by different publishers",
            hint="ask the signing station for a new bundle: this one is put together wrongly",
            facts={"items": [model.target.path for model in models if _same(model.item, twice[0])]},
        )
    settings = [PlannedSettings(target, data) for target, data in contents if target.kind == "config"]
    ours = config_target(site, "x").removesuffix("x.toml")
    own = [each for each in settings if each.target.path.startswith(ours)]
    skipped = tuple(each.target.path for each in settings if each not in own)
    if len(own) > 1:
        raise UpdateRefused(
            Refusal.PRECONDITION,
            f"the bundle brings {len(own)} configurations for the site '{site}', expected at most one",
            hint="ask the signing station for a bundle with one of them",
            facts={"items": [settings.target.path for settings in own]},
        )
    software, beside = planned_software(contents, slots)
    skipped += beside
    if not models and not own and software is None:
        raise UpdateRefused(
            Refusal.NOTHING_TO_DO,
            f"the bundle brings nothing new for this box at the site '{site}', only {', '.join(skipped)}",
            hint="use the stick on a box that it is for",
            facts={"site": site},
        )
    return Plan(ticket, models, own[0] if own else None, skipped, software)


def _same(one: ModelItem, other: ModelItem) -> bool:
    return (one.name, one.version) == (other.name, other.version)


def _planned_model(target: TicketItem, data: bytes, present: Collection[Digest]) -> PlannedModel:
    item = ModelItem.parse(data)
    parts = target.path.split("/")
    if len(parts) < 2 or target.path != model_target(parts[1], item.name, item.version):  # noqa: PLR2004
        raise UpdateRefused(
            Refusal.PRECONDITION,
            f"{target.path} holds the manifest of '{item.name}' version {item.version}",
            hint="ask the signing station for a new bundle: this one is put together wrongly",
            facts={"path": target.path, "found": f"{item.name} {item.version}"},
        )
    missing = {file.digest: file for file in item.files.values() if file.digest not in present}
    return PlannedModel(target, data, item, missing)
