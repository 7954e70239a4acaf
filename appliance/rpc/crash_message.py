"""Versions that were executing when a process ended, as they are put into the answer to Status."""

from collections.abc import Sequence

from appliance.registry.records import CrashedVersion
from appliance.rpc.pb import appliance_admin_pb2 as pb


def add_crashes(response: pb.StatusResponse, crashed: Sequence[CrashedVersion]) -> None:
    """Put what is known into an answer."""
    for each in crashed:
        message = response.crashes.add(
            name=each.name,
            version=str(each.version),
            count=len(each.crashes),
            hung=sum(crash.hung for crash in each.crashes),
            last_unix_s=int(each.crashes[-1].at),
            refused=each.refused,
            remedy=each.remedy,
        )
        for name, version in each.beside:
            message.beside.add(name=name, version=str(version))
