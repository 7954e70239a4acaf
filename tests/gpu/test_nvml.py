"""What NVIDIA's management library tells of a real GPU, against what CUDA tells of it."""

from pathlib import Path

import pytest

from appliance.backends.cuda.driver import open_driver
from appliance.backends.cuda.gpu import list_gpus
from appliance.errors import ApplianceError
from appliance.hardware.nvml import Nvml
from appliance.hardware.reader import HardwareReader

pytestmark = pytest.mark.gpu


def test_the_gpu_that_cuda_computes_on_tells_of_itself() -> None:
    try:
        gpus = list_gpus(open_driver())
    except ApplianceError as error:
        pytest.skip(f"no GPU: {error.message}")
    if Nvml.open() is None:
        pytest.skip("no NVML: the driver brings no management library")

    found = {gpu.uuid: gpu for gpu in HardwareReader(Path("/")).read().gpus}

    for gpu in gpus:
        if gpu.uuid_class != "GPU" or gpu.integrated:
            continue  # NVML lists boards, not the slices of one; a Jetson's answers little
        state = found[gpu.uuid]
        assert state.name == gpu.name
        assert state.celsius is not None
        assert 10 < state.celsius < 110
        assert state.memory_total_bytes is not None
        assert state.memory_total_bytes >= gpu.total_bytes
        assert state.clock_hz
        assert state.throttling is not None
        assert state.problem == ""
