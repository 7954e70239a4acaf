"""A client process that is killed: in the middle of sending, or while its answer is on its way. Run with -S: quick.

    python -S -m tests.rpc.doomed_client ADDRESS sending|receiving FILE     FILE holds the request

Says `now` when it is where it shall be killed.
"""

import sys
import time
from pathlib import Path

from tests.rpc.hostile_peer import INITIAL_WINDOW_SIZE, HostilePeer, message


def main(address: str, where: str, request: str) -> None:
    body = Path(request).read_bytes()
    said = [(INITIAL_WINDOW_SIZE, 20_000)] if where == "receiving" else []
    with HostilePeer(address, said=said, grants=False) as peer:
        stream = peer.open()
        if where == "sending":
            peer.send_message(stream, body[: len(body) // 2], declared=len(body), end=False)
        else:
            peer.send_message(stream, body)
            while peer.received[stream] < len(message(b"")):
                peer.pump()
        print("now", flush=True)  # noqa: T201
        time.sleep(60)


if __name__ == "__main__":
    main(*sys.argv[1:])
