"""model.toml of a converted package: what the model file itself cannot say."""

from collections.abc import Mapping
from types import MappingProxyType

from appliance.convert.conversion import Conversion
from appliance.convert.package.label_file import LABELS
from appliance.convert.package.package_layout import variant_file
from appliance.convert.package.served_graph import ServedGraph
from appliance.convert.package.toml_text import quoted
from appliance.convert.precision import Target
from appliance.model.engine import ShapeRange
from appliance.model.execution import ExecutionPath
from appliance.registry.package import DEFAULT_MODEL_FILE

_PATHS = MappingProxyType(
    {
        Target.CPU: (),
        Target.CUDA: (ExecutionPath.CUDA,),
        Target.TENSORRT: (ExecutionPath.TENSORRT, ExecutionPath.CUDA),
    }
)
_SEPARATORS = frozenset(":,")  # of ONNX Runtime's list of profiles, which knows no escape for them


def model_toml(conversion: Conversion, served: ServedGraph) -> str:
    """Write the configuration. Inputs and outputs are left to the model file, which knows them best."""
    sections = [_head(conversion, served), _batching(served), _label(served), _instances(conversion.request.target)]
    return "\n\n".join([*filter(None, sections), _parameters(served.graph.profiles)]).strip() + "\n"


def describe(conversion: Conversion, served: ServedGraph) -> str:
    """Say in a line what the model is: 'image classification (ViTForImageClassification)'."""
    exported = conversion.exported
    part = "" if len(exported.graphs) == 1 else f", {served.graph.name}"
    return f"{exported.task.value.replace('-', ' ')} ({exported.architecture}){part}"


def _head(conversion: Conversion, served: ServedGraph) -> str:
    lines = [
        f"max_batch_size = {served.max_batch_size}",
        f"description = {quoted(describe(conversion, served))}",
        f"licence = {quoted(conversion.request.licence)}",
    ]
    file = variant_file(conversion.chosen.form)
    if file != DEFAULT_MODEL_FILE:
        lines.append(f"default_model_filename = {quoted(file)}")
    paths = _PATHS[conversion.request.target]
    if paths:
        listed = ", ".join(quoted(path.value) for path in paths)
        lines.append(f'execution = [{listed}]  # the first that works; with "cpu" at the end it may also run there')
    return "\n".join(lines)


def _batching(served: ServedGraph) -> str:
    return "[dynamic_batching]\nmax_queue_delay_microseconds = 0" if served.max_batch_size else ""


def _label(served: ServedGraph) -> str:
    if not served.label_output:
        return ""
    return f"[[output]]\nname = {quoted(served.label_output)}\nlabel_filename = {quoted(LABELS)}"


def _instances(target: Target) -> str:
    return f"[[instance_group]]\nkind = {quoted('KIND_CPU' if target is Target.CPU else 'KIND_GPU')}"


def _parameters(profiles: Mapping[str, ShapeRange]) -> str:
    """Shape profiles in the words of ONNX Runtime's TensorRT provider."""
    shaped = {name: profile for name, profile in profiles.items() if profile.min}
    if not shaped:
        return ""
    unsayable = [name for name in shaped if _SEPARATORS & set(name)]
    if unsayable:
        return f"# No shape profiles for TensorRT: they cannot hold the input's name {quoted(unsayable[0])}."
    bounds = {
        "min": {name: profile.min for name, profile in shaped.items()},
        "opt": {name: profile.opt for name, profile in shaped.items()},
        "max": {name: profile.max for name, profile in shaped.items()},
    }
    lines = [f"trt_profile_{bound}_shapes = {quoted(_shapes(shapes))}" for bound, shapes in bounds.items()]
    return "\n".join(["[parameters]", *lines])


def _shapes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes.items())
