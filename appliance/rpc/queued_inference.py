"""One inference between its queue and its answer."""

from appliance.errors import ApplianceError
from appliance.rpc import codec
from appliance.rpc.call import Answer, Leave, Parts
from appliance.rpc.request_plan import RequestPlan
from appliance.serving.arrivals import Arrivals
from appliance.serving.request import InferenceRequest


class QueuedInference:
    """Encodes and hands over the outcome, on whichever thread has it."""

    __slots__ = ("_answer", "_arrivals", "_plan", "_request", "_request_id")

    def __init__(
        self, plan: RequestPlan, request_id: str, request: InferenceRequest, answer: Answer, arrivals: Arrivals
    ) -> None:
        self._plan = plan
        self._request_id = request_id
        self._request = request
        self._answer = answer
        self._arrivals = arrivals

    def begin(self) -> Leave:
        """Queue it; return what takes it out when the client leaves. Raises Busy."""
        self._arrivals.went(self._request)
        try:
            self._plan.model.begin(
                self._request,
                self._deliver,
                any_thread=self._answer.any_thread,
                together=self._answer.together,
            )
        except ApplianceError:
            self._arrivals.came_back(self._request)
            raise
        return self._leave

    def _leave(self) -> None:
        self._arrivals.came_back(self._request)
        self._plan.model.leave(self._request)

    def _deliver(self, request: InferenceRequest) -> None:
        self._arrivals.came_back(request)
        if request.left:
            return
        try:
            self._answer.reply(self._encoded(request))
        except ApplianceError as error:
            self._answer.fail(with_request_id(error, self._request_id))
        except Exception as error:  # noqa: BLE001  (the answer to its own client; the thread serves others)
            self._answer.fail(error)

    def _encoded(self, request: InferenceRequest) -> Parts:
        """Raises what became of the request instead."""
        if request.error is not None:
            raise request.error
        self._plan.meter.observe(request.computed_ns, joined=request.joined)
        return codec.encode_response(self._plan, self._request_id, request.result)


def with_request_id(error: ApplianceError, request_id: str) -> ApplianceError:
    """A copy of the error for this request alone: several requests of a batch may share one error object."""
    return type(error)(f"[request id: {request_id or '<id_unknown>'}] {error.message}", hint=error.hint)
