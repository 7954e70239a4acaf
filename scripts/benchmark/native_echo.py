"""The echo on the native transport's extension alone: what it costs before anything of the daemon is done.

Answers ModelInfer with a constant of the right size and never looks at the request's bytes. Runs in its own process.

Ways of handing over differ in who takes what has come, and who answers: see benchmark.handover.
"""

import argparse
import asyncio
import select
import signal
import threading
from collections.abc import Callable
from queue import SimpleQueue

import appliance_native as native

from appliance.rpc.pb import grpc_service_pb2 as pb
from benchmark.echoed_model import LARGE_BLOCK_BYTES, MAX_MESSAGE_BYTES, SERVICE, EchoedModel, dims

IO_THREADS = 1  # the daemon's on a machine with two cores
LARGEST_MEMORY_BYTES = 8 << 30
POLL_MS = 200  # after which a worker that waits for the eventfd looks whether it shall end

Bunch = list[tuple[int, native.Call]]


class NativeEcho:
    """Answers what perf_analyzer asks."""

    def __init__(self, model: EchoedModel, port: int) -> None:
        self._model = model
        self._requests = 0
        constant = model.response().SerializeToString()
        answers = {
            "ModelInfer": lambda: (constant,),
            "ServerReady": self._of(pb.ServerReadyResponse(ready=True).SerializeToString()),
            "ServerMetadata": self._of(pb.ServerMetadataResponse(name="echo", version="1").SerializeToString()),
            "ModelMetadata": self._of(model.metadata()),
            "ModelConfig": self._of(model.config()),
            "ModelStatistics": self._statistics,
        }
        self._answers: list[Callable[[], tuple[bytes]]] = list(answers.values())
        limits = ("grpc.max_receive_message_length", "grpc.max_send_message_length")
        self.io = native.Io(threads=IO_THREADS)
        arguments = [(limit, MAX_MESSAGE_BYTES) for limit in limits]
        self.server = native.Server(self.io, arguments, max_calls=4096, memory_bytes=LARGEST_MEMORY_BYTES)
        for number, name in enumerate(answers):
            self.server.add_method(f"/{SERVICE}/{name}", number, reads_itself=False)
        self.server.bind(f"127.0.0.1:{port}")

    @staticmethod
    def _of(answer: bytes) -> Callable[[], tuple[bytes]]:
        return lambda: (answer,)

    def _statistics(self) -> tuple[bytes]:
        success = pb.StatisticDuration(count=self._requests)
        row = pb.ModelStatistics(name=self._model.name, version="1", inference_count=self._requests)
        row.inference_stats.success.CopyFrom(success)
        return (pb.ModelStatisticsResponse(model_stats=[row]).SerializeToString(),)

    def take(self) -> Bunch:
        """Take all that has come; empty if it is nothing."""
        return [(number, call) for number, call, _ in self.io.take() if number >= 0]

    def answer(self, bunch: Bunch) -> None:
        """Answer it. One thread does that, so it can count without a lock."""
        for number, call in bunch:
            self._requests += number == 0
            call.reply(self._answers[number]())


class Handover:
    """One way from the I/O threads to the answer; lives on the event loop, with a thread where the way has one."""

    def __init__(self, echo: NativeEcho, way: str) -> None:
        self._echo = echo
        self._loop = asyncio.get_running_loop()
        self._bunches: SimpleQueue[Bunch | None] = SimpleQueue()
        self._ended = False
        if way == "thread":
            self._thread = threading.Thread(target=self._take_and_answer)
        else:
            self._loop.add_reader(echo.io.fileno(), self._answer_at_once if way == "loop" else self._hand_over)
            self._thread = threading.Thread(target=self._work, args=(way == "back",))
        self._thread.start()

    def end(self) -> None:
        """Have the thread end, after the last event."""
        self._ended = True
        self._bunches.put(None)
        self._thread.join()

    def _answer_at_once(self) -> None:
        while bunch := self._echo.take():
            self._echo.answer(bunch)

    def _hand_over(self) -> None:
        while bunch := self._echo.take():
            self._bunches.put(bunch)

    def _work(self, back: bool) -> None:  # noqa: FBT001  (whether the loop shall answer)
        while (bunch := self._bunches.get()) is not None:
            if back:
                self._loop.call_soon_threadsafe(self._echo.answer, bunch)
            else:
                self._echo.answer(bunch)

    def _take_and_answer(self) -> None:
        poll = select.poll()
        poll.register(self._echo.io.fileno(), select.POLLIN)
        while not self._ended:
            if poll.poll(POLL_MS):
                self._answer_at_once()


async def serve(model: EchoedModel, port: int, way: str) -> None:
    echo = NativeEcho(model, port)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    handover = Handover(echo, way)
    echo.server.start()
    await stopped.wait()
    echo.server.stop()
    echo.server.cancel_calls()
    await asyncio.sleep(0.1)  # until its last event has been taken
    handover.end()
    await asyncio.to_thread(echo.io.close)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmark.native_echo")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--input-dims", type=dims, required=True)
    parser.add_argument("--output-dims", type=dims, required=True)
    parser.add_argument("--max-batch-size", type=int, required=True)
    parser.add_argument("--way", choices=("loop", "thread", "worker", "back"), default="loop", help="of handing over")
    arguments = parser.parse_args()
    model = EchoedModel(arguments.model, arguments.input_dims, arguments.output_dims, arguments.max_batch_size)
    bytes(LARGE_BLOCK_BYTES)  # and gone again
    asyncio.run(serve(model, arguments.port, arguments.way))


if __name__ == "__main__":
    main()
