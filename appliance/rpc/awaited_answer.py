"""An answer that a coroutine waits for. Lives on the event loop."""

import asyncio

from appliance.rpc.call import Parts
from appliance.serving.request import EACH_AT_ONCE


class AwaitedAnswer:
    """Gives what it gets to `future`."""

    any_thread = False
    together = EACH_AT_ONCE

    def __init__(self) -> None:
        self.future: asyncio.Future[Parts] = asyncio.get_running_loop().create_future()

    def reply(self, parts: Parts) -> None:
        """See Answer."""
        if not self.future.done():  # the client left
            self.future.set_result(parts)

    def fail(self, error: Exception) -> None:
        """See Answer."""
        if not self.future.done():
            self.future.set_exception(error)
