"""A ModelInstance that says, where it outlives the process, that it executes: whatever asks it to.

A lost device leaves the mark: that error ends the process, and the version that met it is to be known.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from appliance.backends.base import Array, JoiningInstance, ModelInstance
from appliance.errors import Failed
from appliance.serving.version_marks import VersionMarks


def marked(instance: ModelInstance, marks: VersionMarks, number: int) -> ModelInstance:
    """Let an instance mark its executions. number: its own among those of its version."""
    joins = hasattr(instance, "execute_joined")
    return (_MarkedJoiningInstance if joins else MarkedInstance)(instance, marks, number)


class MarkedInstance:
    """Hot path: two stores into memory around each execution, no system call."""

    __slots__ = ("_at", "_bytes", "_instance")

    def __init__(self, instance: ModelInstance, marks: VersionMarks, number: int) -> None:
        self._instance = instance
        self._bytes = marks.bytes
        self._at = marks.place(number)

    def execute(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Compute, as ModelInstance says."""
        self._bytes[self._at] = 1
        try:
            arrays = self._instance.execute(inputs, outputs)
        except BaseException as error:
            self._failed(error)
            raise
        self._bytes[self._at] = 0
        return arrays

    def close(self) -> None:
        """Give everything back."""
        self._instance.close()

    def _failed(self, error: BaseException) -> None:
        if not (isinstance(error, Failed) and error.device_lost):
            self._bytes[self._at] = 0


class _MarkedJoiningInstance(MarkedInstance):
    """The same of a JoiningInstance."""

    __slots__ = ()

    def execute_joined(self, parts: Sequence[Mapping[str, Array]], outputs: Sequence[str]) -> list[Array]:
        """Compute, as JoiningInstance says."""
        self._bytes[self._at] = 1
        try:
            arrays = cast("JoiningInstance", self._instance).execute_joined(parts, outputs)
        except BaseException as error:
            self._failed(error)
            raise
        self._bytes[self._at] = 0
        return arrays
