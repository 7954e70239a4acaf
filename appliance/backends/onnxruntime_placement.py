"""On which device ONNX Runtime computes an instance group, and with which options.

ONNX Runtime itself does not say whether there is a GPU (a wheel with CUDA lists its provider everywhere), so the CUDA
driver is asked. Does not import onnxruntime.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from appliance.backends.base import LoadRequest
from appliance.backends.cuda.driver import Driver, open_driver
from appliance.backends.cuda.gpu import Gpu, choose_gpu, list_gpus
from appliance.errors import ApplianceError, Failed, InvalidInput
from appliance.model.config import InstanceGroup, InstanceKind, ModelConfig
from appliance.model.execution import ExecutionPolicy

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
CONVOLUTION_SEARCHES = ("DEFAULT", "HEURISTIC", "EXHAUSTIVE")

Providers = tuple[str | tuple[str, tuple[tuple[str, str], ...]], ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a group runs; `note` says why it is not what was asked for."""

    providers: Providers
    gpu: Gpu | None = None
    note: str = ""

    @property
    def provider(self) -> str:
        """The provider that shall compute."""
        first = self.providers[0]
        return first if isinstance(first, str) else first[0]

    @property
    def device(self) -> str:
        """The device in words."""
        return self.provider if self.gpu is None else f"{self.provider} on {self.gpu.name} ({self.gpu.uuid})"


def place(
    group: InstanceGroup,
    request: LoadRequest,
    available: Sequence[str],
    open_cuda: Callable[[], Driver] = open_driver,
) -> Placement:
    """Decide where a group runs. available: ONNX Runtime's providers.

    Raises InvalidInput for options or GPUs that do not exist, Failed if a GPU is required and cannot be had.
    """
    if group.kind is InstanceKind.CPU:
        return Placement((CPU,))
    options = cuda_options(request.config)
    try:
        gpu = _usable_gpu(group, request, available, open_cuda)
    except InvalidInput:
        raise
    except ApplianceError as error:
        if needs_gpu(group, request.execution):
            raise Failed(f"KIND_GPU is required, but {error.message}", hint=error.hint or _REMEDY) from error
        return on_cpu(error.message)
    cuda = (CUDA, (("device_id", str(gpu.ordinal)), *options))
    return Placement((cuda, CPU), gpu)


def on_cpu(reason: str) -> Placement:
    """Place a group that could have had a GPU on the CPU."""
    return Placement((CPU,), note=f"runs on the CPU: {reason}")


def needs_gpu(group: InstanceGroup, policy: ExecutionPolicy) -> bool:
    """Whether anything but a GPU is a failure."""
    return group.kind is InstanceKind.GPU and policy is ExecutionPolicy.REQUIRE


def cuda_options(config: ModelConfig) -> tuple[tuple[str, str], ...]:
    """Return the CUDA provider's options. Raises InvalidInput for parameters that make no sense."""
    # Grows by what is asked for: the default doubles, and takes up to twice the memory that the model needs.
    options = [("arena_extend_strategy", "kSameAsRequested")]
    limit = config.parameter("gpu_memory_limit_bytes")
    if limit:
        if not limit.isdecimal() or not limit.isascii() or int(limit) == 0:
            raise InvalidInput(f"parameter gpu_memory_limit_bytes is '{limit}', expected a number of bytes above 0")
        options.append(("gpu_mem_limit", limit))
    search = config.parameter("cudnn_conv_algo_search", "HEURISTIC").upper()
    if search not in CONVOLUTION_SEARCHES:
        raise InvalidInput(
            f"parameter cudnn_conv_algo_search is '{search}', expected one of {', '.join(CONVOLUTION_SEARCHES)}"
        )
    # ONNX Runtime's default, EXHAUSTIVE, tries every algorithm whenever a shape is new: in the middle of a request.
    options.append(("cudnn_conv_algo_search", search))
    options.append(("use_tf32", "1" if config.parameter("allow_tf32") == "1" else "0"))  # on by default, and inexact
    return tuple(options)


def thread_count(config: ModelConfig) -> int:
    """Threads inside one operator. Raises InvalidInput for a parameter that makes no sense."""
    text = config.parameter("intra_op_thread_count", "1")
    if not text.isdigit() or not 1 <= int(text) <= (os.cpu_count() or 1) * 4:
        raise InvalidInput(
            f"parameter intra_op_thread_count is '{text}', expected 1 to {(os.cpu_count() or 1) * 4} on this machine"
        )
    return int(text)


_REMEDY = 'set execution = "prefer" or kind = "KIND_CPU", or see what this box can run: appliance doctor'


def _usable_gpu(
    group: InstanceGroup, request: LoadRequest, available: Sequence[str], open_cuda: Callable[[], Driver]
) -> Gpu:
    if CUDA not in available:
        raise Failed(
            "this onnxruntime has no CUDA provider",
            hint='pip install \'appliance[gpu]\' on an NVIDIA box, or set execution = "prefer" or kind = "KIND_CPU"',
        )
    return choose_gpu(list_gpus(open_cuda()), ordinals=group.gpus, wanted=request.gpu_uuid)
