"""Giving a box its owner and its name, once: from then on it takes only what its owner signed for it.

Order: the root file as it was given, the box's own key, trust, the audit entry, and identity.json last. Whatever
happens in between, the same command goes on where it stopped; with other values it is refused.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from appliance.bundle.device import DeviceIdentity
from appliance.bundle.moments import moment_text
from appliance.durable import disk_errors, exclusive_lock, make_directory
from appliance.errors import AlreadyExists, InvalidInput
from appliance.state_layout import StateLayout
from appliance.updates.audit_entry import AuditEvent
from appliance.updates.audit_log import AuditLog
from appliance.updates.device_store import DeviceStore
from appliance.updates.trust_store import TrustedRoot, TrustStore, read_root

LARGEST_ROOT_BYTES = 512_000  # as python-tuf
_ANOTHER_OWNER = (
    "a box for another owner or place starts with an empty state directory; see who it is: appliance status"
)


@dataclass(frozen=True, slots=True)
class Provisioned:
    """A sealed box. `is_new`: False if it was sealed with the same values before, and nothing was done."""

    identity: DeviceIdentity
    root: TrustedRoot
    is_new: bool


def provision(
    layout: StateLayout,
    root: bytes,
    *,
    serial: str,
    hardware: str,
    site: str,
    groups: Sequence[str] = (),
    now: Callable[[], datetime],
) -> Provisioned:
    """Seal the box. Raises InvalidInput; AlreadyExists if it was begun or done with other values.

    The root may have expired: newer ones come with the first bundle.
    """
    device, trust = DeviceStore(layout.device), TrustStore(layout.trust)
    first_root = _read_root(root)
    proposed = _identity(serial, hardware, site, groups, moment_text(now()))
    with disk_errors("provisioning this box"):
        make_directory(layout.device)
        with exclusive_lock(layout.device):
            _require_same_root(device, trust, root)
            sealed = device.identity()
            if sealed is not None:
                _require_same_box(sealed, proposed)
                return Provisioned(sealed, first_root, is_new=False)
            device.keep_first_root(root)
            identity = proposed.model_copy(update={"receipt_key": device.make_key()})
            if not trust.is_provisioned:
                trust.recover()
                trust.provision(root)
            AuditLog(layout.audit, now).append(AuditEvent.DEVICE_PROVISIONED, _facts(identity, first_root))
            device.seal(identity)
    return Provisioned(identity, first_root, is_new=True)


def _read_root(root: bytes) -> TrustedRoot:
    if len(root) > LARGEST_ROOT_BYTES:
        raise InvalidInput(
            f"the root file has more than {LARGEST_ROOT_BYTES} bytes",
            hint="take the file root.json that the signing station wrote: appliance publish init",
        )
    return read_root(root)


def _identity(serial: str, hardware: str, site: str, groups: Sequence[str], sealed_at: str) -> DeviceIdentity:
    """Check the values; the key comes when there is one."""
    try:
        return DeviceIdentity(
            serial=serial,
            hardware=hardware,
            site=site,
            groups=tuple(dict.fromkeys(groups)),
            sealed_at=sealed_at,
            receipt_key="0" * 64,
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        reason = first["msg"].removeprefix("Value error, ")
        raise InvalidInput(
            f"{first['loc'][0]}: {reason}", hint="see what is expected: appliance provision --help"
        ) from error


def _require_same_root(device: DeviceStore, trust: TrustStore, root: bytes) -> None:
    """Trust that was begun stays with its root; before that, a root file may still be exchanged."""
    if (trust.is_provisioned or device.is_sealed) and device.first_root() != root:
        raise AlreadyExists("this box was provisioned with another root file", hint=_ANOTHER_OWNER)


def _require_same_box(sealed: DeviceIdentity, proposed: DeviceIdentity) -> None:
    for name in ("serial", "hardware", "site", "groups"):
        found, wanted = getattr(sealed, name), getattr(proposed, name)
        if found != wanted:
            raise AlreadyExists(
                f"this box is sealed as {sealed.serial} since {sealed.sealed_at}: its {name} is {_shown(found)}, "
                f"not {_shown(wanted)}",
                hint=_ANOTHER_OWNER,
            )


def _facts(identity: DeviceIdentity, root: TrustedRoot) -> dict[str, str | int]:
    return {
        "serial": identity.serial,
        "hardware": identity.hardware,
        "site": identity.site,
        "groups": " ".join(identity.groups),
        "receipt_key": identity.receipt_key,
        "root_version": root.version,
        "root_sha256": root.fingerprint,
    }


def _shown(value: str | tuple[str, ...]) -> str:
    return f"'{value}'" if isinstance(value, str) else (", ".join(value) or "none")
