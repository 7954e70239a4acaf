"""Records of engines as documents for `--json`, and as lines for people. Times are ISO 8601, in UTC."""

from typing import Any

from appliance.backends.tensorrt.engine_slot import ENGINE
from appliance.cli.registry_documents import time_text
from appliance.model.engine import EngineRecord
from appliance.model.tensor import format_shape
from appliance.state_layout import StateLayout


def engine_document(record: EngineRecord, layout: StateLayout) -> dict[str, Any]:
    """Everything about one engine; `components` is what its key is made of."""
    return {
        "key": record.key,
        "model": record.model,
        "version": record.version,
        "digest": record.digest,
        "size_bytes": record.size_bytes,
        "path": str(layout.engines / record.key / ENGINE),
        "build_s": record.build_s,
        "build_peak_bytes": record.build_peak_bytes,
        "built_at": time_text(record.built_at),
        "used_at": time_text(record.used_at),
        "device_bytes": record.device_bytes,
        "components": dict(record.facts),
    }


def target_text(record: EngineRecord) -> str:
    """For what it was built, in a few words."""
    platform = record.facts["platform"]
    gpu = platform["gpu_name"] or f"compute capability {platform['compute_capability']}"
    return f"{gpu}, {platform['flavour']} {platform['flavour_version']}"


def key_components(record: EngineRecord) -> list[tuple[str, object]]:
    """Every component of its key with its name."""
    facts = record.facts
    return [
        ("onnx_digest", facts["onnx_digest"]),
        ("precision", facts["precision"]),
        *((name, value or "-") for name, value in facts["platform"].items()),
        *_profiles(facts["profiles"]),
        *(("option", f"{name} = {value}") for name, value in sorted(facts["options"].items())),
    ]


def _profiles(profiles: list[dict[str, Any]]) -> list[tuple[str, object]]:
    if not profiles:
        return [("profile", "from max_batch_size")]
    return [
        (
            f"profile {number}",
            f"{name} {' to '.join(format_shape(shapes[bound]) for bound in ('min', 'opt', 'max'))}",
        )
        for number, profile in enumerate(profiles, start=1)
        for name, shapes in profile.items()
    ]
