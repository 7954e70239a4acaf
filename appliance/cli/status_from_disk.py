"""What can be said of a box while no daemon answers: from its state directory and its machine, changing nothing.

Every part stands alone: what is damaged or not readable is named, the rest is shown.
"""

import sqlite3
from collections.abc import Callable

from appliance import __version__
from appliance.cli.service_checks import installed_unit
from appliance.cli.state_checks import hidden
from appliance.cli.unit_credentials import missing_credentials, words_of
from appliance.daemon.box_watch import box_state
from appliance.daemon.update_room import has_gpu
from appliance.errors import ApplianceError
from appliance.hardware.reader import HardwareReader, read_within
from appliance.hardware.watch import WatchedHardware
from appliance.registry.model_registry import ModelRegistry
from appliance.rpc.box_state import BoxState, add_box
from appliance.rpc.crash_message import add_crashes
from appliance.rpc.pb import appliance_admin_pb2 as pb
from appliance.rpc.update_methods import device_status
from appliance.settings import Settings
from appliance.updates.box import Box
from appliance.updates.software_slots import SoftwareSlots

UNREACHABLE = "UNREACHABLE"
SUDO = "sudo appliance status"

Part = Callable[[Settings, pb.StatusResponse], None]


def status_from_disk(settings: Settings) -> pb.StatusResponse:
    """Answer in the daemon's place."""
    response = pb.StatusResponse(product_version=__version__, state=UNREACHABLE)
    if settings.models_directory is None:
        response.model_source.registry_path = str(settings.layout.root)
    else:
        response.model_source.directory_path = str(settings.models_directory)
    parts: tuple[Part, ...] = (_add_unit, _add_box, _add_models, _add_crashes, _add_device)
    if (check := hidden("state", settings.layout.root)) is not None:
        response.problems.append(f"{check.finding}: its models, software and updates are not shown ({SUDO})")
        parts = (_add_unit, _add_hardware)
    for part in parts:
        _attempt(part, settings, response)
    return response


def _attempt(part: Part, settings: Settings, response: pb.StatusResponse) -> None:
    try:
        part(settings, response)
    except ApplianceError as error:
        problem = str(error)
    except (OSError, sqlite3.Error) as error:  # rights, or damage, in any of many places
        problem = str(error)
    else:
        return
    if problem not in response.problems:
        response.problems.append(problem)


def _add_hardware(settings: Settings, response: pb.StatusResponse) -> None:
    add_box(response, BoxState(_watched(settings, response)))


def _watched(settings: Settings, response: pb.StatusResponse) -> WatchedHardware | None:
    hardware = read_within(HardwareReader(settings.layout.root))
    if hardware is None:
        response.problems.append("a driver keeps the machine's facts from being read (look: journalctl -k)")
        return None
    return WatchedHardware(hardware, age_s=0.0)


def _add_box(settings: Settings, response: pb.StatusResponse) -> None:
    watched = _watched(settings, response)
    add_box(response, box_state(settings.layout, watched, SoftwareSlots.of(settings.layout)))
    if response.HasField("slots"):
        response.slots.running = ""  # this command is no daemon


def _add_unit(_: Settings, response: pb.StatusResponse) -> None:
    for missing in missing_credentials(installed_unit()):
        finding, remedy = words_of(missing)
        response.problems.append(f"{finding} ({remedy})")


def _add_models(settings: Settings, response: pb.StatusResponse) -> None:
    if settings.models_directory is not None or not settings.layout.database.exists():
        return
    for model in ModelRegistry.to_read(settings.layout).models():
        for version in sorted(set(model.aliases.values())):
            response.models.add(
                name=model.name,
                version=str(version),
                state="UNAVAILABLE",
                digest=model.versions[version].digest,
                aliases=sorted(alias for alias, target in model.aliases.items() if target == version),
            )


def _add_crashes(settings: Settings, response: pb.StatusResponse) -> None:
    if settings.models_directory is None and settings.layout.database.exists():
        add_crashes(response, ModelRegistry.to_read(settings.layout).crash_guard.crashed())


def _add_device(settings: Settings, response: pb.StatusResponse) -> None:
    facts = Box.of(settings, ModelRegistry.to_read(settings.layout), has_gpu=has_gpu).device_facts()
    if facts is not None:
        response.model_source.sealed = True
        response.device.CopyFrom(device_status(facts))
