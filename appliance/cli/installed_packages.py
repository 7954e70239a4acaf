"""Whether the packages that are installed are those that this version of the appliance was made for."""

import operator
import re
from importlib import metadata
from itertools import zip_longest
from types import MappingProxyType

_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*])?(?P<ranges>[^;]*)(?P<marker>;.*)?")
_RANGE = re.compile(r"\s*(>=|<=|==|!=|<|>)\s*([0-9.]+)\s*")
_OPERATORS = MappingProxyType(
    {
        ">=": operator.ge,
        "<=": operator.le,
        "==": operator.eq,
        "!=": operator.ne,
        "<": operator.lt,
        ">": operator.gt,
    }
)


def requirements(*, optional: bool) -> dict[str, str] | None:
    """Package -> version range: what is always needed, or what extras need; None if not installed ourselves."""
    try:
        lines = metadata.requires("appliance") or []
    except metadata.PackageNotFoundError:
        return None
    found = {}
    for line in lines:
        match = _REQUIREMENT.match(line)
        if match and ("extra ==" in (match["marker"] or "")) == optional:
            found[match["name"]] = match["ranges"].strip()
    return found


def installed_version(package: str) -> str | None:
    """Return the version that is installed, None if it is not."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def is_within(version: str, ranges: str) -> bool:
    """Say whether a version is within `>=1.28,<1.29`. Pre-releases count as their release."""
    return all(_OPERATORS[sign](*_aligned(version, bound)) for sign, bound in _RANGE.findall(ranges))


def _aligned(one: str, other: str) -> tuple[list[int], list[int]]:
    """Compare 1.28 and 1.28.0 as equal."""
    pairs = list(zip_longest(_numbers(one), _numbers(other), fillvalue=0))
    return [left for left, _ in pairs], [right for _, right in pairs]


def _numbers(version: str) -> list[int]:
    found = re.match(r"\d+(\.\d+)*", version)
    return [int(part) for part in found[0].split(".")] if found else []
