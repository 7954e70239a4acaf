"""The registered models: names, versions, digests, states and how their last load went. Nothing of their content."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from appliance.errors import NotFound
from appliance.maintenance.support.part import Content, json_content
from appliance.maintenance.support.wording import Wording
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.records import CrashedVersion, LoadOutcome, RegisteredModel, RegisteredVersion
from appliance.state_layout import StateLayout


def models_content(layout: StateLayout, wording: Wording) -> Content:
    """Describe what is registered. Raises NotFound, StateUnusable."""
    registry = ModelRegistry.to_read(_existing(layout))
    quarantined = [str(digest) for digest in registry.quarantined()]
    return json_content(
        {
            "models": [_model(model, wording) for model in registry.models()],
            "quarantined": quarantined,
            "ended_the_service": [_crashed(each) for each in registry.crash_guard.crashed()],
        }
    )


def known_names(layout: StateLayout) -> frozenset[str]:
    """Collect what may stand in quotes: names that packages gave. A damaged registry raises anything."""
    if not layout.database.exists():
        return frozenset()
    return frozenset(name for model in ModelRegistry.to_read(layout).models() for name in _names(model))


def _existing(layout: StateLayout) -> StateLayout:
    if not layout.database.exists():
        raise NotFound(f"there is no registry in {layout.root}", hint="appliance models add DIR makes one")
    return layout


def _names(model: RegisteredModel) -> Iterator[str]:
    yield model.name
    yield from model.aliases
    for version in model.versions.values():
        yield str(version.version)
        yield from version.manifest.files
        yield from (tensor.name for tensor in (*version.signature.inputs, *version.signature.outputs))


def _model(model: RegisteredModel, wording: Wording) -> dict[str, Any]:
    return {
        "name": model.name,
        "aliases": dict(model.aliases),
        "versions": [_version(version, wording) for version in model.versions.values()],
        "history": [
            {"alias": each.alias, "at": _time(each.at), "previous": each.previous, "version": each.version}
            for each in model.history[-50:]
        ],
    }


def _version(version: RegisteredVersion, wording: Wording) -> dict[str, Any]:
    return {
        "version": version.version,
        "digest": version.digest,
        "size_bytes": version.size_bytes,
        "licence": version.licence,
        "added_at": _time(version.added_at),
        "files": {path: file.digest for path, file in version.manifest.files.items()},
        "last_load": None if version.last_load is None else _load(version.last_load, wording),
    }


def _load(load: LoadOutcome, wording: Wording) -> dict[str, Any]:
    return {
        "started_at": _time(load.started_at),
        "finished_at": None if load.finished_at is None else _time(load.finished_at),
        "duration_s": None if load.finished_at is None else round(load.finished_at - load.started_at, 3),
        "crashes_in_a_row": load.unfinished,
        "problem": wording.masked(load.problem),
    }


def _crashed(crashed: CrashedVersion) -> dict[str, Any]:
    return {
        "name": crashed.name,
        "version": crashed.version,
        "times": [_time(crash.at) for crash in crashed.crashes],
        "beside": [{"name": name, "version": version} for name, version in crashed.beside],
        "refused": crashed.refused,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
