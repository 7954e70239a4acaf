"""The answer to one call of the native transport, on its way from whichever thread has it."""

import appliance_native as native

from appliance.rpc.call import Parts
from appliance.rpc.native_bunch import TOGETHER
from appliance.rpc.native_io import NativeIo
from appliance.rpc.outcome import outcome


class NativeAnswer:
    """Answers a call, once."""

    __slots__ = ("_call", "_io", "given", "watched")

    any_thread = True
    together = TOGETHER

    def __init__(self, call: native.Call, io: NativeIo) -> None:
        self._call = call
        self._io = io
        self.given = False
        self.watched = False  # whether the call is, or is about to be, known to NativeIo

    def reply(self, parts: Parts) -> None:
        """See Answer."""
        self._give()
        self._call.reply(parts)

    def fail(self, error: Exception) -> None:
        """See Answer."""
        self._give()
        self._call.finish(*outcome(error))

    def _give(self) -> None:
        self.given = True
        if self.watched:
            self._io.forget(self._call)
