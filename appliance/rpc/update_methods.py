"""The admin service's methods about updates: a stream of progress, and the outcome as its last message."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

from appliance.errors import InvalidInput, Unsupported
from appliance.rpc.call import Call, Parts, RequestBytes
from appliance.rpc.messages import parse
from appliance.rpc.pb import appliance_admin_pb2 as pb
from appliance.updates.box import DeviceFacts
from appliance.updates.outcome import UpdateOutcome
from appliance.updates.preparation import ApplyRequest
from appliance.updates.update_run import UpdateProgress
from appliance.updates.update_works import UpdateWorks


class UpdateMethods:
    """ApplyUpdate and RollBackUpdate. `updates` None: the daemon serves a plain directory."""

    def __init__(self, updates: UpdateWorks | None) -> None:
        self._updates = updates

    async def apply_update(self, data: RequestBytes, call: Call) -> AsyncIterator[Parts]:  # noqa: ARG002
        """Answer ApplyUpdate."""
        request = parse(pb.ApplyUpdateRequest, data)
        if not request.place.startswith("/"):
            raise InvalidInput(f"place is {request.place[:200]!r}, expected an absolute path")
        asked = ApplyRequest(
            Path(request.place), request.bundle, request.allow_expired, request.retry, request.no_receipt
        )
        async for event in self._required().apply(asked):
            yield [_message(event).SerializeToString()]

    async def roll_back_update(self, data: RequestBytes, call: Call) -> AsyncIterator[Parts]:  # noqa: ARG002
        """Answer RollBackUpdate."""
        parse(pb.RollBackUpdateRequest, data)
        async for event in self._required().roll_back():
            yield [_message(event).SerializeToString()]

    def progress(self) -> pb.UpdateProgress | None:
        """Say how far the update is that goes on."""
        progress = self._updates.progress if self._updates is not None else None
        return None if progress is None else _progress(progress)

    def _required(self) -> UpdateWorks:
        if self._updates is None:
            raise Unsupported(
                "the daemon serves a plain directory, which takes no updates",
                hint="start it without --models: appliance serve",
            )
        return self._updates


def _message(event: UpdateProgress | UpdateOutcome) -> pb.UpdateEvent:
    if isinstance(event, UpdateOutcome):
        return pb.UpdateEvent(result=json.dumps(event.document()))
    return pb.UpdateEvent(progress=_progress(event))


def _progress(progress: UpdateProgress) -> pb.UpdateProgress:
    return pb.UpdateProgress(step=progress.step, what=progress.what, done=progress.done, total=progress.total)


def device_status(facts: DeviceFacts) -> pb.DeviceStatus:
    """Write who a box is and whom it trusts."""
    identity, root, ticket = facts.identity, facts.root, facts.ticket
    status = pb.DeviceStatus(
        serial=identity.serial,
        hardware=identity.hardware,
        site=identity.site,
        groups=identity.groups,
        receipt_key=identity.receipt_key,
        ticket_seq=ticket.seq if ticket is not None else 0,
        ticket_id=ticket.id if ticket is not None else "",
        problem=facts.problem,
        ticket_finished_unix_s=int(ticket.finished_at or 0) if ticket is not None else 0,
    )
    if root is not None:
        status.root_version, status.root_fingerprint = root.version, root.fingerprint
        status.root_key_ids.extend(root.key_ids)
    return status
