"""What `appliance doctor` says of the state directory: can it be used, by whom, and what does the registry hold."""

import errno
import os
import pwd
import shutil
import tempfile
from pathlib import Path

from appliance.cli.check import AS_ROOT, Check, Result
from appliance.cli.output import format_size
from appliance.cli.root_files import foreign
from appliance.errors import ApplianceError
from appliance.registry.model_registry import ModelRegistry
from appliance.settings import Settings
from appliance.state_layout import LONGEST_SOCKET_PATH_BYTES, SYSTEM_STATE_DIRECTORY, StateLayout

_LITTLE_SPACE_BYTES = 1024**3
_NO_SPACE_BYTES = 64 * 1024**2
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
READ_ONLY = "see why: journalctl -k | grep -i -e 'i/o error' -e remount; then: mount -o remount,rw {directory}"
ROOM = "make room: remove versions that nobody needs with appliance models remove, then: appliance models gc"


def hidden(name: str, directory: Path) -> Check | None:
    """Return the line for a directory that is there and that this user may not look into; None if it may."""
    if not os.path.lexists(directory) or os.access(directory, os.R_OK | os.X_OK, effective_ids=True):
        return None
    return Check(name, Result.WARNING, f"{directory} cannot be read by this user", AS_ROOT)


def check_state_directory(settings: Settings) -> Check:
    """Say whether the daemon could work in the state directory, and how much room it has."""
    layout = settings.layout
    path_bytes = len(os.fsencode(layout.admin_socket))
    if path_bytes > LONGEST_SOCKET_PATH_BYTES:
        most = f"at most {LONGEST_SOCKET_PATH_BYTES} work"
        finding = f"the path of the socket {layout.admin_socket} has {path_bytes} bytes, {most}"
        return Check("state", Result.ERROR, finding, "set runtime_directory to a shorter path in appliance.toml")
    existing = next(path for path in (layout.root, *layout.root.parents) if _is_directory(path))
    if os.path.lexists(layout.root) and existing != layout.root:
        return Check("state", Result.ERROR, f"{layout.root} is not a directory", "name another: --state DIR")
    if (check := hidden("state", existing)) is not None:
        return check
    free_bytes = shutil.disk_usage(existing).free
    room = f"{layout.root}{'' if existing == layout.root else ' (not made yet)'}, {format_size(free_bytes)} free"
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        return Check("state", Result.ERROR, *_cannot_write(existing, error, room))
    if free_bytes < _LITTLE_SPACE_BYTES:
        result = Result.ERROR if free_bytes < _NO_SPACE_BYTES else Result.WARNING
        return Check("state", result, room, ROOM)
    return Check("state", Result.OK, room)


def check_registry(settings: Settings) -> Check:
    """Say what the registry holds."""
    layout = settings.layout
    if (check := hidden("registry", layout.root)) is not None:
        return check
    if not layout.database.exists():
        return Check("registry", Result.OK, "none yet: appliance models add DIR makes one")
    try:
        if os.access(layout.root, os.W_OK, effective_ids=True):
            with ModelRegistry.open(layout) as registry:
                models = registry.models()
        else:  # read-only, which the line 'state' says; what the registry holds can be told all the same
            registry = ModelRegistry.to_read(layout)
            models = registry.models()
            registry.crash_guard.crashed()  # a database of an older form may lack them
    except ApplianceError as error:
        return Check("registry", Result.ERROR, error.message, error.hint)
    active = sum(1 for model in models if model.aliases)
    return Check("registry", Result.OK, f"{len(models)} models, {active} of them active")


def check_owner(layout: StateLayout, service_user: str) -> list[Check]:
    """Compare the owner of the state with the service's user ('' if no unit says who that is).

    No line for a state of root's that no unit names, as a developer has it.
    """
    if not layout.root.exists():
        return []
    if (check := hidden("owner", layout.root)) is not None:
        return [check]
    owner, service = layout.root.stat().st_uid, _user_id(service_user or _usual_user(layout))
    if service is not None and owner != service and (owner == 0 or layout.root == SYSTEM_STATE_DIRECTORY):
        name = service_user or _usual_user(layout)
        finding = f"{layout.root} belongs to {_user_name(owner)}, but the service runs as {name}"
        remedy = f"chown -R {name}:{name} {layout.root}; then: systemctl restart appliance.service"
        return [Check("owner", Result.ERROR, finding, remedy)]
    if owner == 0:
        return []
    wrong = list(foreign(layout.root, owner))
    if wrong:
        finding = f"{len(wrong)} files belong to somebody else than the service, such as {wrong[0]}"
        return [Check("owner", Result.ERROR, finding, f"chown -R --reference={layout.root} {layout.root}")]
    return [Check("owner", Result.OK, "all of the state belongs to the service")]


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except PermissionError:  # its parent may not be looked into, and so cannot be a place for it either
        return False


def _cannot_write(directory: Path, error: OSError, room: str) -> tuple[str, str]:
    """Return finding and remedy for a state directory that takes no file."""
    if error.errno in _FULL:
        return room, ROOM
    finding = f"{directory} cannot be written: {error.strerror}"
    if error.errno == errno.EROFS:
        return finding, READ_ONLY.format(directory=directory)
    return finding, f"look at its owner: ls -ld {directory}; name another: --state DIR"


def _usual_user(layout: StateLayout) -> str:
    return "appliance" if layout.root == SYSTEM_STATE_DIRECTORY else ""


def _user_id(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid if name else None
    except KeyError:
        return None


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
