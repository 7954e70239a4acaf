"""The CUDA driver binding without a driver: what is said when it is missing or refuses."""

import ctypes
from types import SimpleNamespace

import pytest

from appliance.backends.cuda.driver import Driver, open_driver
from appliance.backends.cuda.error import CudaError, CudaOutOfMemory
from appliance.backends.cuda.gpu import choose_gpu, free_bytes, gpu_by_uuid, list_gpus
from appliance.errors import Failed, InvalidInput, NotFound
from tests.support.stand_in_cuda import UUIDS, StandInCuda


def test_a_machine_without_a_driver_is_told_to_install_one():
    with pytest.raises(Failed, match=r"no NVIDIA driver.*libcuda-missing\.so\.1.*not installed") as caught:
        open_driver("libcuda-missing.so.1")

    assert "nvidia-smi" in caught.value.hint


def test_a_file_that_is_no_library_is_named_with_the_loaders_reason(tmp_path):
    broken = tmp_path / "libcuda.so.1"
    broken.write_bytes(b"not a library")

    with pytest.raises(Failed, match=r"no NVIDIA driver.*cannot be loaded") as caught:
        open_driver(str(broken))

    assert "not installed" not in caught.value.message


def test_a_library_without_the_functions_is_an_old_driver():
    with pytest.raises(Failed, match="too old: it has no cuInit"):
        Driver(SimpleNamespace())


def test_a_real_library_that_is_not_the_driver_is_refused():
    with pytest.raises(Failed, match="too old"):
        Driver(ctypes.CDLL(None))


@pytest.mark.parametrize(
    ("code", "name", "hint", "lost"),
    [
        (2, "CUDA_ERROR_OUT_OF_MEMORY", "free GPU memory", False),
        (100, "CUDA_ERROR_NO_DEVICE", "nvidia-smi", False),
        (719, "CUDA_ERROR_LAUNCH_FAILED", "restart the appliance", True),
        (12345, "CUDA error 12345", "doctor", False),
    ],
)
def test_a_code_is_named_explained_and_answered_with_a_next_step(code, name, hint, lost):
    library = StandInCuda()
    library.forced["cuInit"] = code

    with pytest.raises(CudaError) as caught:
        Driver(library).call("cuInit", 0)

    assert name in caught.value.message
    assert caught.value.message.startswith("cuInit failed")
    assert hint in caught.value.hint
    assert caught.value.device_lost is lost
    assert isinstance(caught.value, CudaOutOfMemory) is (code == 2)


def test_the_newest_cuda_of_the_driver_is_read():
    assert Driver(StandInCuda()).cuda_version == "13.0"


def test_gpus_are_listed_with_what_an_engine_is_bound_to():
    first, second = list_gpus(Driver(StandInCuda(gpus=2)))

    assert (first.uuid, first.uuid_class, first.name) == (f"GPU-{UUIDS[0]}", "GPU", "Stand-in GPU")
    assert (first.compute_capability, first.total_bytes, first.integrated) == ("8.9", 1 << 30, False)
    assert (second.ordinal, second.uuid) == (1, f"GPU-{UUIDS[1]}")


def test_a_slice_of_a_gpu_is_known_by_its_own_uuid():
    (gpu,) = list_gpus(Driver(StandInCuda(mig=True)))

    assert (gpu.uuid, gpu.uuid_class) == (f"MIG-{UUIDS[4]}", "MIG")


def test_no_gpu_is_an_empty_list():
    assert list_gpus(Driver(StandInCuda(gpus=0))) == ()


def test_a_gpu_is_chosen_by_uuid_by_ordinal_or_first():
    gpus = list_gpus(Driver(StandInCuda(gpus=2)))

    assert gpu_by_uuid(gpus, gpus[1].uuid.upper()) is gpus[1]
    assert choose_gpu(gpus, wanted=gpus[1].uuid) is gpus[1]
    assert choose_gpu(gpus, ordinals=[1], wanted=gpus[0].uuid) is gpus[1]
    assert choose_gpu(gpus) is gpus[0]


def test_a_gpu_that_is_not_there_is_refused_with_those_that_are():
    gpus = list_gpus(Driver(StandInCuda(gpus=2)))

    with pytest.raises(NotFound, match=f"'GPU-f00'.*{gpus[0].uuid}.*{gpus[1].uuid}"):
        gpu_by_uuid(gpus, "GPU-f00")
    with pytest.raises(NotFound, match="fits 2 GPUs"):
        gpu_by_uuid(gpus, "GPU-0")
    with pytest.raises(InvalidInput, match="GPU 7"):
        choose_gpu(gpus, ordinals=[7])
    with pytest.raises(InvalidInput, match="expected one"):
        choose_gpu(gpus, ordinals=[0, 1])
    with pytest.raises(NotFound, match="no GPU"):
        choose_gpu(())


def test_free_memory_of_an_integrated_gpu_is_what_the_kernel_has():
    driver = Driver(StandInCuda(integrated=True, total_bytes=1))
    (gpu,) = list_gpus(driver)

    assert free_bytes(driver, gpu) > 1


def test_a_driver_that_dropped_an_older_form_still_names_its_gpus():
    library = StandInCuda()
    del library.cuDeviceGetUuid

    (gpu,) = list_gpus(Driver(library))

    assert gpu.uuid.startswith("GPU-")
