"""How a new version is tried before it is made visible, whether a person adds it or a bundle brings it."""

from pathlib import Path

from appliance.backends.base import LoadRequest
from appliance.backends.table import backend_name, open_backend
from appliance.backends.trial import trial_load
from appliance.model.config import ModelConfig
from appliance.model.config_completion import complete_config
from appliance.model.signature import ModelSignature
from appliance.registry.version_trial import Check
from appliance.settings import ModelSettings


def trial_check(name: str, settings: ModelSettings) -> Check:
    """Return the check of one package: its model loads, and its configuration does not contradict the file."""

    def check(model_file: Path, config: ModelConfig) -> ModelSignature:
        backend = backend_name(config)
        if backend == "onnxruntime":
            signature = trial_load(
                model_file,
                config,
                memory_bytes=settings.import_memory_bytes,
                timeout_s=settings.import_timeout_s,
            )
        else:  # its own code only: nothing of the file is executed
            signature = (
                open_backend(backend).load(LoadRequest(model_file, config, (), config.execution.policy)).signature
            )
        complete_config(config, signature, name=name, backend=backend, platform="", filename=model_file.name)
        return signature

    return check
