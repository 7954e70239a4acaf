"""The path of one inference from request bytes to response parts; unary calls and streams share it."""

import asyncio
from typing import NoReturn

from appliance.backends.base import Array
from appliance.errors import ApplianceError, Busy, InvalidInput
from appliance.rpc import codec
from appliance.rpc.awaited_answer import AwaitedAnswer
from appliance.rpc.call import Answer, Call, Leave, Parts, RequestBytes
from appliance.rpc.pb.grpc_service_pb2 import ModelInferRequest
from appliance.rpc.queued_inference import QueuedInference, with_request_id
from appliance.rpc.raw_message import cut, parse_header, parse_whole
from appliance.rpc.request_plan import RequestPlan, make_plan
from appliance.serving.arrivals import Arrivals
from appliance.serving.model_table import ModelTable
from appliance.serving.request import InferenceRequest

_REMEMBERED_PLANS = 1024
_LONGEST_HEADER = 4096  # bytes; longer headers are planned anew each time


class InferPath:
    """Remembers plans for the headers that clients repeat, as long as the model table stays the same."""

    def __init__(self, table: ModelTable) -> None:
        self._table = table
        self._plans: dict[bytes, RequestPlan] = {}
        self._generation = -1
        self._draining = False
        self._end_is_known = asyncio.Event()
        self._refusals: set[asyncio.Task[None]] = set()  # of what came since `drain`
        self._arrivals = Arrivals()

    def drain(self) -> None:
        """Take no request from now on; those that are under way are answered, new ones wait for `refuse`."""
        self._draining = True

    def refuse(self) -> None:
        """Refuse those that wait: whoever asks again now finds that nobody listens."""
        self._end_is_known.set()

    async def refusal(self) -> NoReturn:
        """Wait for `refuse`, then raise Busy: what becomes of whatever comes since `drain`."""
        await self._end_is_known.wait()
        raise Busy("Server is stopping and has stopped accepting new inference requests")

    async def answer(self, data: RequestBytes, call: Call) -> Parts:
        """Answer one request, where an answer is awaited. Raises what `begin` fails with."""
        answer = AwaitedAnswer()
        leave = self.begin(data, call, answer)
        try:
            return await answer.future
        except asyncio.CancelledError:
            if leave is not None:
                leave()
            raise
        finally:
            # An error knows this frame, and they know the error: request and connection would wait for the collector.
            del answer, leave

    def begin(self, data: RequestBytes, call: Call, answer: Answer) -> Leave | None:
        """Answer one request: at once, or from whoever has computed it. Errors name the request's id, as Triton's do.

        The model is looked up and the request queued without giving way in between, so a model that is being
        replaced still gets every request that was planned for it.
        """
        received_ns = codec.now_ns()
        if self._draining:
            return self._begin_refusal(data, answer)
        request_id = ""
        try:
            plan, request_id, inputs = self._prepare(data)
            alone = self._arrivals.note()
            arrays = plan.model.infer_now(inputs, plan.outputs, plan.rows, received_ns, plan.meter, alone=alone)
            if arrays is None:
                request = _request(plan, inputs, received_ns, call.deadline_s)
                return QueuedInference(plan, request_id, request, answer, self._arrivals).begin()
            answer.reply(codec.encode_response(plan, request_id, arrays))
        except ApplianceError as error:
            answer.fail(with_request_id(error, request_id or _id_of(data)))
        return None

    def _begin_refusal(self, data: RequestBytes, answer: Answer) -> Leave:
        async def refuse() -> None:
            try:
                await self.refusal()
            except Busy as error:
                answer.fail(with_request_id(error, _id_of(data)))

        task = asyncio.create_task(refuse())
        self._refusals.add(task)
        task.add_done_callback(self._refusals.discard)
        return task.cancel

    def _prepare(self, data: RequestBytes) -> tuple[RequestPlan, str, dict[str, Array]]:
        envelope = cut(data)
        if envelope is None:
            message = parse_whole(data)
            plan = self._plan(message)
            return plan, message.id, codec.bind_message(plan, message, message.raw_input_contents)
        known = self._remembered(envelope.header)
        if known is not None:
            return known, envelope.request_id, codec.bind_raw(known, envelope.raw)
        message = parse_header(envelope.header)
        plan = self._plan(message)
        inputs = codec.bind_message(plan, message, envelope.raw)
        if not any(tensor.HasField("contents") for tensor in message.inputs):
            self._remember(envelope.header, plan)
        return plan, envelope.request_id, inputs

    def _plan(self, message: ModelInferRequest) -> RequestPlan:
        return make_plan(message, self._table.lookup(message.model_name, message.model_version))

    def _remembered(self, header: bytes) -> RequestPlan | None:
        if self._generation != self._table.generation:
            self._plans.clear()
            self._generation = self._table.generation
        return self._plans.get(header)

    def _remember(self, header: bytes, plan: RequestPlan) -> None:
        if len(header) > _LONGEST_HEADER:
            return
        if len(self._plans) >= _REMEMBERED_PLANS:
            self._plans.clear()
        self._plans[header] = plan


def _request(
    plan: RequestPlan, inputs: dict[str, Array], received_ns: int, deadline_s: float | None
) -> InferenceRequest:
    return InferenceRequest(
        inputs,
        plan.outputs,
        plan.rows,
        plan.batch_key,
        plan.priority,
        plan.timeout_us,
        deadline_s=deadline_s,
        received_ns=received_ns,
    )


def _id_of(data: RequestBytes) -> str:
    envelope = cut(data)
    if envelope is not None:
        return envelope.request_id
    try:
        return parse_whole(data).id
    except InvalidInput:
        return ""
