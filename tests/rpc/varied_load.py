"""A client process that asks for a bit of everything, and looks at every answer.

    python -m tests.rpc.varied_load ADDRESS COUNT

Of COUNT requests most are tiny; every 100th has 600 KB and so has its answer, every 1000th is cancelled, and every
5000th is followed by a stream.
"""

import random
import sys
from collections import deque

import grpc

from appliance.rpc.pb import grpc_service_pb2 as pb
from tests.rpc.hostility import ANSWER_BYTES, LARGE, large_request, small_request
from tests.rpc.wire import FOUR, SERVICE

IN_FLIGHT = 32
TIMEOUT_S = 120
STREAM_LENGTH = 20


class Load:
    """One connection's worth of it."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        self._stream = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")
        self._small, self._large = small_request(), large_request()
        self._flying: deque[tuple[grpc.Future, bytes | None]] = deque()

    def run(self, count: int, every: int = 1000) -> None:
        """every: how often one is cancelled; the rest keeps its proportion."""
        for number in range(count):
            self._begin(number, every)
            if len(self._flying) >= IN_FLIGHT:
                self._finish()
            if number % (5 * every) == 0:
                self._talk()
        while self._flying:
            self._finish()

    def _begin(self, number: int, every: int) -> None:
        large = number % max(1, every // 10) == 0
        future = self._infer.future(self._large if large else self._small, timeout=TIMEOUT_S)
        if number % every == every // 2:
            if random.random() < 0.5:
                self._finish()
            future.cancel()
            self._flying.append((future, None))
        else:
            self._flying.append((future, LARGE if large else FOUR))

    def _finish(self) -> None:
        if not self._flying:
            return
        future, expected = self._flying.popleft()
        if expected is None:
            return
        answer = pb.ModelInferResponse.FromString(future.result())
        assert list(answer.raw_output_contents) == [expected]

    def _talk(self) -> None:
        requests = [self._large, *[self._small] * STREAM_LENGTH]
        answers = [
            pb.ModelStreamInferResponse.FromString(data) for data in self._stream(iter(requests), timeout=TIMEOUT_S)
        ]
        sizes = [len(answer.infer_response.raw_output_contents[0]) for answer in answers]
        assert sizes == [ANSWER_BYTES, *[len(FOUR)] * STREAM_LENGTH]


def main(address: str, count: str, every: str = "1000") -> None:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(address, options) as channel:
        Load(channel).run(int(count), int(every))


if __name__ == "__main__":
    main(*sys.argv[1:])
