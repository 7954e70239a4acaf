"""What the CUDA driver said went wrong, and what to do about it."""

from types import MappingProxyType

from appliance.errors import Failed

OUT_OF_MEMORY = 2
_RESTART = "restart the appliance: systemctl restart appliance; if it comes back: dmesg | grep NVRM"
_HINTS = MappingProxyType(
    {
        2: "free GPU memory: unload a model, lower max_batch_size or the instance count; see: nvidia-smi",
        46: "another process holds the GPU exclusively; see: nvidia-smi",
        100: "look at the driver: nvidia-smi; the service needs access to /dev/nvidia*, and CUDA_VISIBLE_DEVICES "
        "must not hide every GPU",
        304: "the service's user needs access to /dev/nvidia* (groups video and render): ls -l /dev/nvidia*",
        802: "the GPU fabric is not ready: systemctl status nvidia-fabricmanager",
        803: "driver library and kernel module have different versions: reboot",
        804: "this driver is too old for the CUDA compatibility library: install a newer NVIDIA driver",
        999: "look at the kernel's messages: dmesg | grep NVRM; a reboot often helps",
    }
)

# After these every later call of the process fails: CUDA's context is lost with all that it held.
_CONTEXT_LOST = frozenset({4, 201, 214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721})


class CudaError(Failed):
    """A call of the CUDA driver failed. `code` is CUresult."""

    def __init__(self, function: str, code: int, name: str, explanation: str) -> None:
        hint = _RESTART if code in _CONTEXT_LOST else _HINTS.get(code, "what this box can run: appliance doctor")
        super().__init__(f"{function} failed: {explanation or 'unknown error'} ({name})", hint=hint)
        self.code = code

        self.device_lost = code in _CONTEXT_LOST


class CudaOutOfMemory(CudaError):
    """There is not enough GPU memory, or not enough memory that can be page-locked."""
