"""What a box is like around its models, as it is put into the answer to Status: machine, clock, slots."""

from dataclasses import dataclass

from appliance.hardware.watch import WatchedHardware
from appliance.rpc.hardware_message import hardware_message
from appliance.rpc.pb import appliance_admin_pb2 as pb
from appliance.slots.record import SlotName, SlotRecord
from appliance.updates.update_clock import ClockJudgement


@dataclass(frozen=True, slots=True)
class BoxState:
    """One moment. None: it could not be found out, or there is none. problems: a sentence each."""

    hardware: WatchedHardware | None = None
    clock: ClockJudgement | None = None
    slots: SlotRecord | None = None
    running: SlotName | None = None  # where the daemon's own software is
    problems: tuple[str, ...] = ()


def add_box(response: pb.StatusResponse, state: BoxState) -> None:
    """Put what is known into an answer; the rest stays absent."""
    response.problems.extend(state.problems)
    if state.hardware is not None:
        response.hardware.CopyFrom(hardware_message(state.hardware))
    if state.clock is not None:
        response.clock.clock_unix_s = int(state.clock.clock.timestamp())
        response.clock.floor_unix_s = int(state.clock.floor.timestamp())
        response.clock.suspect = state.clock.suspect
    if state.slots is not None:
        response.slots.CopyFrom(_slots_message(state.slots, state.running))


def _slots_message(record: SlotRecord, running: SlotName | None) -> pb.SlotsStatus:
    message = pb.SlotsStatus(current=record.current, running=running or "")
    for name, slot in sorted(record.slots.items()):
        message.slots.add(name=name, version=slot.version, tree=slot.tree, problem=slot.problem)
    if record.trial is not None:
        message.on_trial, message.trial_starts_left = record.trial.slot, record.trial.left
    if record.fallback is not None:
        message.fallback_reason, message.fallback_version = record.fallback.reason, record.fallback.version
    return message
