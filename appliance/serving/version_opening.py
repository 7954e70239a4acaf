"""Opening the model file of a version with the runtime of one execution path, and completing its configuration."""

from appliance.backends.base import BackendModel, LoadRequest
from appliance.backends.engine_file import EngineFile
from appliance.backends.table import backend_name, open_backend
from appliance.errors import ApplianceError, InvalidInput
from appliance.model.config import InstanceGroup, InstanceKind
from appliance.model.config_completion import ServedModel, complete_config, served_model
from appliance.model.execution import ExecutionPath, ExecutionPolicy
from appliance.registry.source import AvailableVersion
from appliance.serving.package_file import read_package_file

_ONNX = "onnxruntime"


def open_version(
    available: AvailableVersion, path: ExecutionPath | None, engine: EngineFile | None, gpu_uuid: str = ""
) -> tuple[BackendModel, ServedModel]:
    """Open a version and check that file and configuration agree. `engine`: for TensorRT; it stays the caller's.

    Raises an ApplianceError; then nothing is left behind.
    """
    name = _backend_of(available, path)
    backend = open_backend(name)
    groups = _groups(available.config.instance_group, path)
    config = available.config.model_copy(update={"instance_group": groups})
    # A path that was chosen is meant: the runtime must not fall back by itself and pass for it.
    policy = config.execution.policy if path is None else ExecutionPolicy.REQUIRE
    request = LoadRequest(available.model_file, config, groups, policy, engine, gpu_uuid)
    model = backend.load(request)
    try:
        complete = complete_config(
            config,
            model.signature,
            name=available.name,
            backend=name,
            platform=backend.platform,
            filename=available.model_file.name,
            default_instances=backend.default_cpu_instances,
        )
        labels = {
            output.label_filename: _labels(available, output.label_filename)
            for output in complete.output
            if output.label_filename
        }
        return model, served_model(complete, model.signature, labels)
    except ApplianceError:
        model.close()
        raise


def _backend_of(available: AvailableVersion, path: ExecutionPath | None) -> str:
    name = backend_name(available.config)
    if path is None:
        return name
    if name != _ONNX:
        raise InvalidInput(
            f"execution names {path.value}, but the backend is '{name}'",
            hint="leave 'execution' or 'backend' out of the configuration",
        )
    return "tensorrt" if path is ExecutionPath.TENSORRT else name


def _groups(written: tuple[InstanceGroup, ...], path: ExecutionPath | None) -> tuple[InstanceGroup, ...]:
    """Instance groups as one path has them: all on its kind of device."""
    groups = written or (InstanceGroup(kind=InstanceKind.CPU),)
    if path is None:
        return groups
    if path is ExecutionPath.CPU:
        return tuple(group.model_copy(update={"kind": InstanceKind.CPU, "gpus": ()}) for group in groups)
    return tuple(group.model_copy(update={"kind": InstanceKind.GPU}) for group in groups)


def _labels(available: AvailableVersion, filename: str) -> tuple[str, ...]:
    try:
        return tuple(read_package_file(available.directory, filename).decode().splitlines())
    except UnicodeDecodeError as error:
        raise InvalidInput(f"label file {filename} is not UTF-8 text: {error}") from error
