"""Targets: small content that a role signs by name, size and digest."""

import hashlib

from tuf.api.metadata import TargetFile, Targets

from appliance.bundle.layout import LARGEST_TARGET_BYTES, MOST_TARGETS, check_target_path, hashed_target
from appliance.errors import InvalidInput
from appliance.publish.station import Station


def add_target(station: Station, targets: Targets, path: str, data: bytes) -> str:
    """Keep content and list it; `targets` has to be signed after it. Returns its SHA-256. Raises InvalidInput."""
    check_target_path(path)
    if len(data) > LARGEST_TARGET_BYTES:
        raise InvalidInput(f"{path} has {len(data)} bytes, expected at most {LARGEST_TARGET_BYTES}")
    if path not in targets.targets and len(targets.targets) >= MOST_TARGETS:
        raise InvalidInput(f"this role signs {MOST_TARGETS} targets already, the most that a box accepts")
    hex_digits = hashlib.sha256(data).hexdigest()
    station.put_target(hashed_target(path, hex_digits), data)
    targets.targets[path] = TargetFile(len(data), {"sha256": hex_digits}, path)
    return hex_digits


def read_target(station: Station, path: str, targets: Targets) -> bytes:
    """Return the content of a target. Raises InvalidInput if it is not what was signed."""
    wanted = targets.targets[path].hashes["sha256"]
    place = station.targets / hashed_target(path, wanted)
    data = place.read_bytes() if place.is_file() else b""
    if hashlib.sha256(data).hexdigest() != wanted:
        raise InvalidInput(
            f"{place} is lost, or not what was signed",
            hint="add it again, or restore the station from a copy",
        )
    return data
