"""What a transport is, and which one serves."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from appliance.errors import Busy
from appliance.state_layout import LONGEST_SOCKET_PATH_BYTES

_LAME_DUCK_S = 0.2  # clients that pause between two requests come back into the hands of a service that drains
_GOODBYE_S = 0.1  # until every client has read that the connection ends


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to listen: `host:port` (port 0: any) or `unix:/path`, with the mode of the socket's file."""

    address: str
    socket_mode: int | None = None

    @property
    def socket(self) -> Path | None:
        """The file of a Unix socket."""
        return Path(self.address.removeprefix("unix:")) if self.address.startswith("unix:") else None

    def opened(self, port: int) -> str:
        """Set the mode of a socket's file; return the address that clients use. port: the one that was bound."""
        if self.socket is None:
            return f"{self.address.rpartition(':')[0]}:{port}"
        if self.socket_mode is not None:
            self.socket.chmod(self.socket_mode)
        return self.address


class Transport(Protocol):
    """Serves services; made with them and with the settings of a server."""

    name: str

    async def start(self, endpoints: Sequence[Endpoint]) -> list[str]:
        """Bind all and begin to accept calls; return the addresses that clients use, in order.

        Raises Busy if one cannot be bound; then nothing is served.
        """

    async def stop(self, grace_s: float, refuse: Callable[[], None] = lambda: None) -> None:
        """Take no new calls, wait at most `grace_s` for those in flight, cancel the rest.

        `refuse` is called when the clients know of the end: services that drain keep new calls waiting until then.
        gRPC answers CANCELLED, which no client tries again, to what arrives after its server has ended and before
        its client has read so. A client whose call waits sends no other meanwhile.
        """


def cannot_listen(endpoint: Endpoint) -> Busy:
    """Say that an address cannot be bound."""
    address = endpoint.address
    if endpoint.socket is not None:
        return Busy(
            f"cannot listen on {address}: its directory is missing or may not be written to, "
            f"or the path is longer than {LONGEST_SOCKET_PATH_BYTES} bytes",
            hint=f"ls -ld {endpoint.socket.parent}",
        )
    return Busy(
        f"cannot listen on {address}: it is in use, or not an address of this machine",
        hint="who has it: ss -ltnp; another address: appliance serve --listen HOST:PORT",
    )


async def say_goodbye(end: Callable[[], Awaitable[None]], grace_s: float, refuse: Callable[[], None]) -> None:
    """Stop as Transport.stop promises. `end` tells the clients, waits for what is in flight, cancels the rest."""
    await asyncio.sleep(min(grace_s, _LAME_DUCK_S))
    ending = asyncio.ensure_future(end())
    await asyncio.wait([ending], timeout=min(grace_s, _GOODBYE_S))
    refuse()
    await ending
