"""The registry's records as documents for `--json`. Times are ISO 8601, in UTC."""

from datetime import UTC, datetime
from typing import Any

from appliance.model.signature import SignatureTensor
from appliance.registry.rebuild import RebuildReport
from appliance.registry.records import AliasChange, LoadOutcome, RegisteredModel, RegisteredVersion
from appliance.registry.scrub import ScrubReport


def model_document(model: RegisteredModel) -> dict[str, Any]:
    """Everything about one name."""
    return {
        "name": model.name,
        "aliases": dict(model.aliases),
        "versions": [version_document(version, aliases_of(model, version)) for version in model.versions.values()],
        "history": [_change_document(change) for change in model.history],
    }


def version_document(version: RegisteredVersion, aliases: list[str]) -> dict[str, Any]:
    """Everything about one version."""
    return {
        "name": version.name,
        "version": version.version,
        "digest": version.digest,
        "aliases": aliases,
        "size_bytes": version.size_bytes,
        "licence": version.licence,
        "added_at": time_text(version.added_at),
        "inputs": [_tensor_document(tensor) for tensor in version.signature.inputs],
        "outputs": [_tensor_document(tensor) for tensor in version.signature.outputs],
        "files": {
            path: {"digest": file.digest, "size_bytes": file.size_bytes}
            for path, file in version.manifest.files.items()
        },
        "provenance": version.provenance,
        "last_load": _load_document(version.last_load) if version.last_load else None,
    }


def scrub_document(report: ScrubReport) -> dict[str, Any]:
    """When everything was read last, and what is damaged since."""
    run = report.run
    return {
        "last": None
        if run is None
        else {
            "started_at": time_text(run.started_at),
            "finished_at": time_text(run.finished_at),
            "files": run.files,
            "size_bytes": run.size_bytes,
            "new_findings": run.findings,
        },
        "damaged": [
            {
                "digest": damaged.finding.digest,
                "state": "quarantined" if damaged.finding.quarantined else "missing",
                "problem": damaged.finding.problem,
                "found_at": time_text(damaged.finding.at),
                "files": list(damaged.places),
            }
            for damaged in report.damaged
        ],
    }


def rebuild_document(report: RebuildReport) -> dict[str, Any]:
    """What came back, and what did not."""
    signed = {(each.name, each.version): each.target for each in report.signed}
    return {
        "versions": [
            {
                "name": version.name,
                "version": version.version,
                "digest": version.digest,
                "signed_as": signed.get((version.name, version.version)),
            }
            for version in report.versions
        ],
        "problems": [{"subject": found.subject, "problem": found.problem} for found in report.problems],
    }


def aliases_of(model: RegisteredModel, version: RegisteredVersion) -> list[str]:
    """Return the aliases that point at a version."""
    return sorted(alias for alias, number in model.aliases.items() if number == version.version)


def time_text(seconds: float) -> str:
    """Write seconds since 1970 as people and programs read them."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _tensor_document(tensor: SignatureTensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "datatype": tensor.datatype.wire_name,
        "shape": list(tensor.shape),
        "optional": tensor.optional,
    }


def _change_document(change: AliasChange) -> dict[str, Any]:
    return {
        "alias": change.alias,
        "at": time_text(change.at),
        "previous": change.previous,
        "version": change.version,
    }


def _load_document(outcome: LoadOutcome) -> dict[str, Any]:
    return {
        "started_at": time_text(outcome.started_at),
        "finished_at": None if outcome.finished_at is None else time_text(outcome.finished_at),
        "problem": outcome.problem,
        "unfinished": outcome.unfinished,
    }
