"""A server that does nothing but answer: what gRPC itself costs under this Python. Runs in its own process.

`raw` answers ModelInfer with a constant of the right size and never looks at the request's bytes; `objects` takes
the tensors through protobuf messages, as a server does that is written the usual way. With a pace, answers are held
back and leave in groups at equal intervals, as they do from a server that computes batches. All count their requests
in ModelStatistics, and leave `statistics` out of the extensions so that perf_analyzer does not ask for more.
"""

import argparse
import asyncio
import selectors
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import grpc

from appliance.rpc.pb import grpc_service_pb2 as pb
from benchmark.echoed_model import LARGE_BLOCK_BYTES, MAX_MESSAGE_BYTES, OUTPUT, SERVICE, EchoedModel, dims

# The daemon's kind of loop and of server, so that the difference is the daemon's own work. Change both together.
new_event_loop = asyncio.new_event_loop


def new_precise_loop() -> asyncio.AbstractEventLoop:
    """A loop that keeps a pace: epoll, which the usual one waits on, rounds up to milliseconds."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


Context = grpc.aio.ServicerContext[bytes, bytes]
Handler = Callable[[bytes, Context], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Pace:
    """At most `group` answers every `interval_s`."""

    group: int
    interval_s: float


class Gate:
    """Holds requests back and lets them go in groups at a fixed pace."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def passed(self) -> None:
        """Wait for the group that this request leaves with."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    async def run(self) -> None:
        """Let groups go until cancelled."""
        due_s = time.monotonic()
        while True:
            due_s = max(due_s + self._pace.interval_s, time.monotonic())
            await asyncio.sleep(due_s - time.monotonic())
            for _ in range(min(self._pace.group, len(self._waiting))):
                future = self._waiting.popleft()
                if not future.done():
                    future.set_result(None)


class EchoService:
    """Answers what perf_analyzer asks; counts on the loop, hence without a lock."""

    def __init__(self, model: EchoedModel, gate: Gate | None) -> None:
        self._model = model
        self._gate = gate
        self._constant = model.response().SerializeToString()
        self._requests = 0

    async def infer_raw(self, _request: bytes, _context: Context) -> bytes:
        self._requests += 1
        if self._gate is not None:
            await self._gate.passed()
        return self._constant

    async def infer_objects(self, request: bytes, _context: Context) -> bytes:
        self._requests += 1
        message = pb.ModelInferRequest.FromString(request)
        response = pb.ModelInferResponse(model_name=message.model_name, model_version="1", id=message.id)
        shape = message.inputs[0].shape
        response.outputs.append(pb.ModelInferResponse.InferOutputTensor(name=OUTPUT, datatype="FP32", shape=shape))
        response.raw_output_contents.append(message.raw_input_contents[0])
        return response.SerializeToString()

    async def statistics(self, _request: bytes, _context: Context) -> bytes:
        success = pb.StatisticDuration(count=self._requests)
        row = pb.ModelStatistics(name=self._model.name, version="1", inference_count=self._requests)
        row.inference_stats.success.CopyFrom(success)
        return pb.ModelStatisticsResponse(model_stats=[row]).SerializeToString()


def constant(answer: bytes) -> Handler:
    async def handle(_request: bytes, _context: Context) -> bytes:
        return answer

    return handle


def handlers(model: EchoedModel, mode: str, gate: Gate | None) -> dict[str, Handler]:
    service = EchoService(model, gate)
    return {
        "ServerReady": constant(pb.ServerReadyResponse(ready=True).SerializeToString()),
        "ServerMetadata": constant(pb.ServerMetadataResponse(name="echo", version="1").SerializeToString()),
        "ModelMetadata": constant(model.metadata()),
        "ModelConfig": constant(model.config()),
        "ModelStatistics": service.statistics,
        "ModelInfer": service.infer_raw if mode == "raw" else service.infer_objects,
    }


async def serve(model: EchoedModel, mode: str, port: int, pace: Pace | None) -> None:
    gate = Gate(pace) if pace else None
    releasing = asyncio.create_task(gate.run()) if gate else None
    limits = ("grpc.max_receive_message_length", "grpc.max_send_message_length")
    server = grpc.aio.server(options=[(limit, MAX_MESSAGE_BYTES) for limit in limits])
    found = handlers(model, mode, gate)
    methods = {name: grpc.unary_unary_rpc_method_handler(handle) for name, handle in found.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
    await server.stop(grace=1)
    if releasing:
        releasing.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmark.echo_server")
    parser.add_argument("--mode", choices=("raw", "objects", "objects-warm"), required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--input-dims", type=dims, required=True)
    parser.add_argument("--output-dims", type=dims, required=True)
    parser.add_argument("--max-batch-size", type=int, required=True)
    parser.add_argument("--group", type=int, help="answers that leave together (with --interval-s)")
    parser.add_argument("--interval-s", type=float)
    arguments = parser.parse_args()
    model = EchoedModel(arguments.model, arguments.input_dims, arguments.output_dims, arguments.max_batch_size)
    if arguments.mode != "objects":
        bytes(LARGE_BLOCK_BYTES)  # and gone again
    pace = Pace(arguments.group, arguments.interval_s) if arguments.group else None
    with asyncio.Runner(loop_factory=new_precise_loop if pace else new_event_loop) as runner:
        runner.run(serve(model, arguments.mode, arguments.port, pace))


if __name__ == "__main__":
    main()
