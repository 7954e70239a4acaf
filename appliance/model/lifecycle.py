"""States of a served version, and which versions a policy wants. Pure rules."""

from collections.abc import Iterable
from enum import Enum

from appliance.model.config import VersionPolicy
from appliance.model.identity import ModelVersion


class ModelState(Enum):
    """Triton's words for where a version stands."""

    UNKNOWN = "UNKNOWN"
    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


LEGAL_SUCCESSORS: dict[ModelState, frozenset[ModelState]] = {
    ModelState.UNKNOWN: frozenset({ModelState.LOADING}),
    ModelState.LOADING: frozenset({ModelState.READY, ModelState.UNAVAILABLE}),
    ModelState.READY: frozenset({ModelState.UNLOADING}),
    ModelState.UNLOADING: frozenset({ModelState.UNAVAILABLE}),
    ModelState.UNAVAILABLE: frozenset({ModelState.LOADING}),
}

UNLOADED = "unloaded"  # Triton's reason of a version that was asked to leave


def wanted_versions(policy: VersionPolicy, available: Iterable[ModelVersion]) -> list[ModelVersion]:
    """Return which of the available versions the policy serves, newest first."""
    newest_first = sorted(available, reverse=True)
    if policy.all:
        return newest_first
    if policy.specific:
        return [version for version in newest_first if version in policy.specific.versions]
    return newest_first[: policy.latest.num_versions if policy.latest else 1]
