"""The path of one inference from request bytes to response parts; unary calls and streams share it."""

import asyncio
from typing import NoReturn

from appliance.backends.base import Array
from appliance.errors import ApplianceError, Busy, InvalidInput
from appliance.rpc import codec
from appliance.rpc.call import Call, Parts
from appliance.rpc.pb.grpc_service_pb2 import ModelInferRequest
from appliance.rpc.raw_message import cut, open_envelope, parse
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

    async def answer(self, data: bytes, call: Call) -> Parts:
        """Answer one request. Errors name the request's id, as Triton's do.

        The model is looked up and the request queued without giving way in between, so a model that is being
        replaced still gets every request that was planned for it.
        """
        received_ns = codec.now_ns()
        request_id = ""
        try:
            if self._draining:
                await self.refusal()
            plan, request_id, inputs = self._prepare(data)
            alone = self._arrivals.note()
            arrays = plan.model.infer_now(inputs, plan.outputs, plan.rows, received_ns, plan.meter, alone=alone)
            if arrays is None:
                request = _request(plan, inputs, received_ns, call.deadline_s)
                with self._arrivals:
                    arrays = await plan.model.infer(request)
                plan.meter.observe(request.computed_ns, joined=request.joined)
            return codec.encode_response(plan, request_id, arrays)
        except ApplianceError as error:
            raise _with_request_id(error, request_id or _id_of(data)) from error

    def _prepare(self, data: bytes) -> tuple[RequestPlan, str, dict[str, Array]]:
        envelope = cut(data)
        if envelope is None:
            message = parse(data)
            plan = self._plan(message)
            return plan, message.id, codec.bind_message(plan, message, message.raw_input_contents)
        known = self._remembered(envelope.header)
        if known is not None:
            return known, envelope.request_id, codec.bind_raw(known, envelope.raw)
        message = parse(envelope.header)
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


def _with_request_id(error: ApplianceError, request_id: str) -> ApplianceError:
    """A copy of the error for this request alone: several requests of a batch may share one error object."""
    return type(error)(f"[request id: {request_id or '<id_unknown>'}] {error.message}", hint=error.hint)


def _id_of(data: bytes) -> str:
    try:
        return open_envelope(data)[0].id
    except InvalidInput:
        return ""
