"""TensorRT's messages: to the journal, and kept so that a failure can tell its reason.

TensorRT's functions only return None or False; why stands in what it logged before. One EngineLog per engine, so that
reasons of one model never appear in the errors of another; kept by thread, because TensorRT logs on the thread that
called it and instances fail one by one.
"""

import logging
import threading
from collections import deque
from typing import Any

from appliance.backends.tensorrt.tensorrt_reasons import is_lack_of_memory, short_reason
from appliance.errors import Failed

logger = logging.getLogger(__name__)

_LEVELS = {"WARNING": logging.WARNING, "INFO": logging.DEBUG}  # TensorRT is talkative
_ERRORS = ("ERROR", "INTERNAL_ERROR")
_KEPT = 3
_MEMORY_HINT = "free GPU memory: unload a model, lower max_batch_size or the instance count; see: nvidia-smi"


class OutOfGpuMemory(Failed):
    """The GPU has no room for it now; it may have later."""


class EngineLog:
    """Collects errors; `sink` is the ILogger to hand to TensorRT, which must not outlive it."""

    def __init__(self, trt: Any) -> None:
        self._kept = threading.local()
        self.sink = _sink(trt, self)

    @property
    def _errors(self) -> deque[str]:
        if not hasattr(self._kept, "errors"):
            self._kept.errors = deque(maxlen=_KEPT)
        errors: deque[str] = self._kept.errors
        return errors

    def take(self, severity: str, message: str) -> None:
        """Take note of one message."""
        if severity in _ERRORS:
            self._errors.append(message)
            logger.warning("TensorRT: %s", message)  # whoever called TensorRT reports the failure itself
        elif severity in _LEVELS:
            logger.log(_LEVELS[severity], "TensorRT: %s", message)

    def clear(self) -> None:
        """Forget errors of the past."""
        self._errors.clear()

    def failure(self, what: str, *, hint: str = "") -> Failed:
        """Make the error for something that TensorRT did not do, with its reason."""
        messages = list(self._errors)
        self._errors.clear()
        if is_lack_of_memory(messages):
            return OutOfGpuMemory(f"{what}: out of GPU memory: {short_reason(messages)}", hint=_MEMORY_HINT)
        return Failed(f"{what}: {short_reason(messages)}", hint=hint)


def _sink(trt: Any, log: EngineLog) -> Any:
    class Sink(trt.ILogger):  # type: ignore[misc]  # TensorRT is not typed
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            log.take(severity.name, message)

    return Sink()
