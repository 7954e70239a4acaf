"""Which roles there are, how many people must sign, and for how long a signature holds."""

from dataclasses import dataclass
from types import MappingProxyType

from appliance.bundle.layout import CONFIG_ROLE_PREFIX, MODELS_ROLE_PREFIX, SOFTWARE_ROLE, TICKETS_ROLE


@dataclass(frozen=True, slots=True)
class RoleRule:
    """keys: how many are made; threshold: how many of them must sign; safe: where they belong."""

    keys: int
    threshold: int
    days: int
    safe: str


TOP_LEVEL = MappingProxyType(
    {
        "root": RoleRule(3, 2, 3650, "three safes at three places; only for changes of keys"),
        "targets": RoleRule(3, 2, 730, "three people who approve releases"),
        "snapshot": RoleRule(1, 1, 180, "the signing station"),
        "timestamp": RoleRule(1, 1, 180, "the signing station"),
    }
)
DELEGATED = MappingProxyType(
    {
        TICKETS_ROLE: RoleRule(2, 1, 180, "the dispatcher; the second one in a safe"),
        SOFTWARE_ROLE: RoleRule(3, 2, 730, "three people of the release team"),
    }
)
PUBLISHER = RoleRule(1, 1, 365, "whoever makes the models")
SITE = RoleRule(1, 1, 365, "the administrator of the site")


def rule_of(role: str) -> RoleRule:
    """Return the rule of any role that a station may have."""
    if role in TOP_LEVEL:
        return TOP_LEVEL[role]
    if role in DELEGATED:
        return DELEGATED[role]
    assert role.startswith((MODELS_ROLE_PREFIX, CONFIG_ROLE_PREFIX)), role
    return PUBLISHER if role.startswith(MODELS_ROLE_PREFIX) else SITE
