"""ModelStreamInfer: many requests on one call, answered in the order of the requests.

Requests are queued as they arrive, so those of one stream can share a batch; while its window is full, the stream is
read no further. An error is an answer like any other and does not end the stream, unless the client asked for that
with the header `triton_grpc_error: true`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from appliance.errors import ApplianceError, Busy, InvalidInput
from appliance.rpc.call import Call, Parts, RequestBytes, joined
from appliance.rpc.pb.grpc_service_pb2 import ModelInferResponse, ModelStreamInferResponse
from appliance.rpc.raw_message import open_envelope
from appliance.rpc.stream_window import StreamWindow

FINAL = "triton_final_response"
ERROR_HEADER = "triton_grpc_error"

Infer = Callable[[RequestBytes, Call], Awaitable[Parts]]
_Begin = Callable[[RequestBytes, int], Coroutine[Any, Any, bytes]]
_Answers = asyncio.Queue["asyncio.Task[bytes] | None"]  # no longer than the window is large


async def answer_in_order(
    requests: AsyncIterator[RequestBytes], call: Call, infer: Infer, readers: set["asyncio.Task[None]"]
) -> AsyncIterator[Parts]:
    """Yield one response for each request. Ends when the client has half-closed and everything is answered.

    `readers` holds the task that reads this stream while it does: cancelling it ends the stream with Busy after
    everything that was read is answered.
    """
    errors_end_the_stream = str(call.metadata.get(ERROR_HEADER, "")).lower() == "true"
    answers: _Answers = asyncio.Queue()
    window = StreamWindow()
    begin = partial(_answer, call=call, infer=infer, window=window, errors_end_the_stream=errors_end_the_stream)
    reader = asyncio.create_task(_read(requests, begin, answers, window))
    readers.add(reader)
    reader.add_done_callback(readers.discard)
    try:
        while (answer := await answers.get()) is not None:
            response = await answer
            yield [response]
            window.give_answer(len(response))
        await asyncio.wait([reader])
        if reader.cancelled():
            raise Busy("GRPC server is shutting down and has stopped accepting new requests.")
        reader.result()
    finally:
        reader.cancel()
        while not answers.empty():
            answer = answers.get_nowait()
            if answer is not None:
                answer.cancel()


async def _read(
    requests: AsyncIterator[RequestBytes], begin: _Begin, answers: _Answers, window: StreamWindow
) -> None:
    try:
        async for data in requests:
            answers.put_nowait(asyncio.create_task(begin(data, window.take_request(len(data)))))
            await window.wait_for_room()
    finally:
        answers.put_nowait(None)


async def _answer(
    data: RequestBytes,
    counted_bytes: int,
    *,
    call: Call,
    infer: Infer,
    window: StreamWindow,
    errors_end_the_stream: bool,
) -> bytes:
    """Answer one request; it counts for so many bytes of the window until then."""
    try:
        inner = ModelInferResponse.FromString(joined(await infer(data, call)))
        response = ModelStreamInferResponse(infer_response=inner)
    except ApplianceError as error:
        if errors_end_the_stream:
            raise
        response = ModelStreamInferResponse(error_message=str(error), infer_response=_named_like(data))
    response.infer_response.parameters[FINAL].bool_param = True
    answer = response.SerializeToString()
    window.put_answer(len(answer), counted_bytes)
    return answer


def _named_like(data: RequestBytes) -> ModelInferResponse:
    """The head of an answer to a request that failed; empty if it cannot even be parsed."""
    try:
        message, _ = open_envelope(data)
    except InvalidInput:
        return ModelInferResponse()
    return ModelInferResponse(id=message.id, model_name=message.model_name, model_version=message.model_version)
