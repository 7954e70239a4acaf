"""`appliance wait-gpu`: it waits for what is wanted, and only for that."""

import json
import shutil
from pathlib import Path

import pytest

from appliance.cli.gpu_wanted import GpuWanted, wanted_by
from appliance.model.config import ModelConfig
from tests.cli.conftest import write_package
from tests.cli.terminal import MODELS, Result, Terminal, appliance

pytestmark = pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a GPU's driver")
MODEL = """
backend = "{backend}"
max_batch_size = 0
{more}
input = [{{ name = "x", data_type = "TYPE_FP32", dims = [2] }}]
output = [{{ name = "y", data_type = "TYPE_FP32", dims = [2] }}]
"""


def waited(models: Path, *more: str) -> Result:
    settings = models.parent / "appliance.toml"
    settings.write_text(f"models_directory = '{models}'\n" + "".join(more))
    return appliance("wait-gpu", "--timeout", "0", "--config", settings, "--state", models.parent / "s")


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({}, GpuWanted.NO),
        ({"execution": ["cpu"]}, GpuWanted.NO),
        ({"execution": ["tensorrt", "cuda"]}, GpuWanted.REQUIRED),
        ({"execution": ["cuda", "cpu"]}, GpuWanted.IF_THERE),
        ({"execution": {"prefer": ["tensorrt"]}}, GpuWanted.IF_THERE),
        ({"instance_group": [{"kind": "KIND_CPU"}]}, GpuWanted.NO),
        ({"instance_group": [{"kind": "KIND_AUTO"}]}, GpuWanted.IF_THERE),
        ({"instance_group": [{"kind": "KIND_GPU"}]}, GpuWanted.REQUIRED),
        ({"instance_group": [{"kind": "KIND_CPU"}, {"kind": "KIND_GPU"}]}, GpuWanted.REQUIRED),
        ({"instance_group": [{"kind": "KIND_GPU"}], "execution": "prefer"}, GpuWanted.IF_THERE),
    ],
    ids=json.dumps,
)
def test_what_a_model_wants_is_what_its_loading_would_demand(config, wanted):
    assert wanted_by(ModelConfig.model_validate(config)) is wanted


def test_nothing_is_waited_for_and_nothing_said_where_nothing_wants_a_gpu(tmp_path):
    result = waited(_on_cpu(tmp_path))

    assert (result.code, result.out, result.err) == (0, "", "")


def _on_cpu(tmp_path: Path) -> Path:
    write_package(tmp_path / "models" / "on-cpu", MODEL.format(backend="reference", more=""))
    return tmp_path / "models"


def test_a_model_that_requires_a_gpu_is_named_with_the_nodes_and_the_remedy(tmp_path):
    write_package(tmp_path / "models" / "eye", MODEL.format(backend="onnxruntime", more='execution = ["cuda"]'))
    result = waited(tmp_path / "models")

    assert result.code == 75
    assert "eye version 1 wants it" in result.story
    assert "/dev/nvidiactl" in result.story
    assert "nvidia-modprobe" in result.story


def test_a_model_that_may_run_on_the_cpu_starts_there_and_it_is_said(tmp_path):
    more = 'execution = ["cuda", "cpu"]'
    write_package(tmp_path / "models" / "eye", MODEL.format(backend="onnxruntime", more=more))
    result = waited(tmp_path / "models")

    assert result.code == 0
    assert "warning: the GPU's driver is not ready, and eye version 1 wants it" in result.story


def test_a_setting_that_names_a_gpu_wants_it(tmp_path):
    result = waited(_on_cpu(tmp_path), "[gpu]\nuuid = 'GPU-1'\n")

    assert result.code == 75
    assert "gpu.uuid = GPU-1" in result.story


def test_what_cannot_be_read_is_for_the_service_to_end_over(terminal: Terminal):
    (terminal.state / "registry.db").write_text("this is no database")
    result = terminal.appliance("wait-gpu", "--timeout", "0")

    assert "not waiting for a GPU" in result.story
    assert "registry.db is damaged" in result.story


@pytest.mark.slow
def test_only_models_of_the_registry_that_an_alias_points_at_are_wanted(terminal: Terminal):
    package = shutil.copytree(MODELS / "digits", terminal.state / "package" / "digits")
    written = (package / "model.toml").read_text()
    (package / "model.toml").write_text('execution = ["cuda"]\n' + written.replace("KIND_CPU", "KIND_GPU"))
    terminal.appliance("models", "add", package)
    nothing = {"wanted": "no", "by": "", "missing": []}

    assert terminal.appliance("wait-gpu", "--timeout", "0", "--json").json == nothing
    terminal.appliance("models", "activate", "digits", "1")
    assert "digits version 1 wants it" in terminal.appliance("wait-gpu", "--timeout", "0", code=75).story
