"""The echo on the native transport's extension alone: what it costs before anything of the daemon is done.

Answers ModelInfer with a constant of the right size and never looks at the request's bytes. Runs in its own process.
"""

import argparse
import asyncio
import signal
from collections.abc import Callable

import appliance_native as native

from appliance.rpc.pb import grpc_service_pb2 as pb
from benchmark.echoed_model import LARGE_BLOCK_BYTES, MAX_MESSAGE_BYTES, SERVICE, EchoedModel, dims

IO_THREADS = 1  # the daemon's on a machine with two cores


class NativeEcho:
    """Answers what perf_analyzer asks, on an event loop as the daemon has it."""

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
        self.server = native.Server(self.io, [(limit, MAX_MESSAGE_BYTES) for limit in limits], max_calls=4096)
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

    def take(self) -> None:
        """Answer all that has come."""
        for number, call, _ in self.io.take():
            if number >= 0:
                self._requests += number == 0
                call.reply(self._answers[number]())


async def serve(model: EchoedModel, port: int) -> None:
    echo = NativeEcho(model, port)
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(echo.io.fileno(), echo.take)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    echo.server.start()
    await stopped.wait()
    echo.server.stop()
    echo.server.cancel_calls()
    await asyncio.sleep(0.1)  # until its last event has been taken
    await asyncio.to_thread(echo.io.close)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmark.native_echo")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--input-dims", type=dims, required=True)
    parser.add_argument("--output-dims", type=dims, required=True)
    parser.add_argument("--max-batch-size", type=int, required=True)
    arguments = parser.parse_args()
    model = EchoedModel(arguments.model, arguments.input_dims, arguments.output_dims, arguments.max_batch_size)
    bytes(LARGE_BLOCK_BYTES)  # and gone again
    asyncio.run(serve(model, arguments.port))


if __name__ == "__main__":
    main()
