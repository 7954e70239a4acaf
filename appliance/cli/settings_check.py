"""What `appliance doctor` says of the settings: valid, and to be read by whoever needs them."""

import os
import pwd
import subprocess
from pathlib import Path

from appliance.cli.check import AS_ROOT, Check, Result
from appliance.cli.exit_codes import WrongUsage
from appliance.cli.options import read_settings
from appliance.settings import SYSTEM_SETTINGS_FILE, Settings


def check_settings(config: Path | None, state: Path | None, service_user: str) -> tuple[Check, Settings]:
    """Read them as the daemon does; where that is impossible, go on with the defaults. service_user: '' for none."""
    file = config or SYSTEM_SETTINGS_FILE
    if os.path.lexists(file) and not os.access(file, os.R_OK, effective_ids=True):
        check = Check("settings", Result.WARNING, f"{file} cannot be read by this user", AS_ROOT)
        return check, Settings(state_directory=state)
    try:
        settings = read_settings(config, state)
    except WrongUsage as error:
        remedy = error.hint or "correct the file; until then the daemon does not start"
        return Check("settings", Result.ERROR, error.message, remedy), Settings(state_directory=state)
    if config is None and service_user and not may_read(service_user, file):
        finding = f"{file} cannot be read by the service, which runs as {service_user}"
        remedy = f"chmod 644 {file}; then: systemctl restart appliance.service"
        return Check("settings", Result.ERROR, finding, remedy), settings
    return Check("settings", Result.OK, f"valid; state in {settings.layout.root}"), settings


def may_read(user: str, file: Path) -> bool:
    """Whether a user may read a file that is there. Only root can ask for somebody else: True for others."""
    if os.geteuid() != 0 or not os.path.lexists(file):
        return True
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        return True
    asked = subprocess.run(
        ["test", "-r", file],
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=os.getgrouplist(user, account.pw_gid),
        check=False,
    )
    return asked.returncode == 0
