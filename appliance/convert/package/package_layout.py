"""Where things stand in a converted package: the one place that the writer, the manifest and the report ask."""

from collections.abc import Mapping

from appliance.convert.precision import Form
from appliance.convert.variant import Variant
from appliance.model.identity import ModelVersion
from appliance.registry.package import DEFAULT_MODEL_FILE


def variant_file(form: Form) -> str:
    """Name the file of a variant inside its version's directory."""
    return DEFAULT_MODEL_FILE if form is Form.FP32 else f"model.{form.value}.onnx"


def packaged_files(variant: Variant, version: ModelVersion) -> Mapping[str, str]:
    """Return graph -> path relative to the graph's package; empty for a variant that is left out of it."""
    if not variant.within_tolerance:
        return {}
    return {graph: f"{version}/{variant_file(variant.form)}" for graph in variant.graphs}
