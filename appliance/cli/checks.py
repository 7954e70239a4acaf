"""What `appliance doctor` examines, in this order: the software, the box, the service, the daemon.

Each check finds facts and never raises what it can name; none changes anything that outlives it.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import appliance
from appliance import RELEASED
from appliance.backends.probe_judgement import REINSTALL
from appliance.cli.backend_checks import checks_of_backends
from appliance.cli.check import Check, Result
from appliance.cli.client import connect_admin
from appliance.cli.crash_checks import checks_of_crashes
from appliance.cli.exit_codes import DaemonUnreachable, WrongUsage
from appliance.cli.installed_packages import installed_version, is_within, requirements
from appliance.cli.listen_checks import check_listening
from appliance.cli.options import read_settings
from appliance.cli.output import format_size
from appliance.cli.reference_trial import reference_computes
from appliance.cli.service_checks import checks_of_service
from appliance.cli.update_checks import checks_of_updates
from appliance.errors import ApplianceError
from appliance.process_environment import remove_outbound_variables
from appliance.registry.model_registry import ModelRegistry
from appliance.settings import Settings

OLDEST_PYTHON = (3, 11)
_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
_LITTLE_SPACE_BYTES = 1024**3
_NO_SPACE_BYTES = 64 * 1024**2
_LONGEST_SOCKET_PATH_BYTES = 107  # sun_path in unix(7)
_DAY_S = 86400
_FAR_AHEAD_S = 20 * 365 * _DAY_S  # this software will hardly run longer; it serves all the same


def run_checks(config: Path | None, state: Path | None) -> list[Check]:
    """Examine everything."""
    outbound = _check_outbound_variables()  # takes them out: what follows must not use them
    settings_check, settings = _check_settings(config, state)
    return [
        _check_python(),
        _check_packages(),
        _check_runtime_packages(),
        *checks_of_backends(),
        _check_reference(),
        settings_check,
        _check_state_directory(settings),
        _check_registry(settings),
        *checks_of_crashes(settings),
        *checks_of_updates(settings),
        *checks_of_service(settings.layout),
        daemon := _check_daemon(settings),
        check_listening(settings.server.listen, daemon_runs=daemon.result is Result.OK),
        _check_clock(),
        outbound,
    ]


def _check_python() -> Check:
    found, oldest = sys.version.split()[0], ".".join(map(str, OLDEST_PYTHON))
    if sys.version_info < OLDEST_PYTHON:
        return Check("python", Result.ERROR, f"{found}, expected {oldest} or newer", f"install Python {oldest}")
    return Check("python", Result.OK, f"{found} at {sys.executable}")


def _check_packages() -> Check:
    needed = requirements(optional=False)
    if needed is None:
        return Check(
            "packages", Result.WARNING, "the appliance runs from its source tree", "install it: pip install ."
        )
    problems = [problem for package, ranges in needed.items() if (problem := _package_problem(package, ranges))]
    if problems:
        return Check("packages", Result.ERROR, "; ".join(problems), REINSTALL)
    return Check("packages", Result.OK, f"appliance {appliance.__version__}, {len(needed)} packages as expected")


def _package_problem(package: str, ranges: str) -> str:
    found = installed_version(package)
    if found is None:
        return f"{package} is not installed"
    return "" if is_within(found, ranges) else f"{package} is {found}, expected {ranges}"


def _check_runtime_packages() -> Check:
    found = {package: version for package in _RUNTIMES if (version := installed_version(package))}
    described = ", ".join(f"{package} {version}" for package, version in found.items())
    if not found:
        return Check("runtime", Result.ERROR, "ONNX Runtime is not installed", REINSTALL)
    if len(found) > 1:
        remedy = f"keep one: pip uninstall {' '.join(found)}; then {REINSTALL}"
        return Check("runtime", Result.ERROR, f"{described}: both hold the same files", remedy)
    ((package, version),) = found.items()
    ranges = (requirements(optional=True) or {}).get(package, "")
    if not is_within(version, ranges):
        return Check("runtime", Result.ERROR, f"{described}, expected {ranges}", REINSTALL)
    return Check("runtime", Result.OK, f"{described} (supported: {ranges or 'unknown'})")


def _check_reference() -> Check:
    problem = reference_computes()
    if problem:
        return Check("reference", Result.ERROR, problem, REINSTALL)
    return Check("reference", Result.OK, "the reference backend computes")


def _check_settings(config: Path | None, state: Path | None) -> tuple[Check, Settings]:
    try:
        settings = read_settings(config, state)
    except WrongUsage as error:
        remedy = error.hint or "correct the file; until then the daemon does not start"
        return Check("settings", Result.ERROR, error.message, remedy), Settings(state_directory=state)
    return Check("settings", Result.OK, f"valid; state in {settings.layout.root}"), settings


def _check_state_directory(settings: Settings) -> Check:
    layout = settings.layout
    existing = next(path for path in (layout.root, *layout.root.parents) if path.is_dir())
    path_bytes = len(os.fsencode(layout.admin_socket))
    if path_bytes > _LONGEST_SOCKET_PATH_BYTES:
        finding = f"the path of the socket {layout.admin_socket} has {path_bytes} bytes, at most 107 work"
        return Check("state", Result.ERROR, finding, "set runtime_directory to a shorter path in appliance.toml")
    if layout.root.exists() and existing != layout.root:
        return Check("state", Result.ERROR, f"{layout.root} is not a directory", "name another: --state DIR")
    try:
        with tempfile.TemporaryFile(dir=existing):
            free_bytes = shutil.disk_usage(existing).free
    except OSError as error:
        finding = f"{existing} cannot be written: {error.strerror}"
        return Check(
            "state", Result.ERROR, finding, f"look at its owner: ls -ld {existing}; name another: --state DIR"
        )
    finding = f"{layout.root}{'' if existing == layout.root else ' (not made yet)'}, {format_size(free_bytes)} free"
    if free_bytes < _LITTLE_SPACE_BYTES:
        result = Result.ERROR if free_bytes < _NO_SPACE_BYTES else Result.WARNING
        return Check("state", result, finding, "make room: appliance models gc")
    return Check("state", Result.OK, finding)


def _check_registry(settings: Settings) -> Check:
    if not settings.layout.database.exists():
        return Check("registry", Result.OK, "none yet: appliance models add DIR makes one")
    try:
        with ModelRegistry.open(settings.layout) as registry:
            models = registry.models()
    except ApplianceError as error:
        return Check("registry", Result.ERROR, error.message, error.hint)
    active = sum(1 for model in models if model.aliases)
    return Check("registry", Result.OK, f"{len(models)} models, {active} of them active")


def _check_daemon(settings: Settings) -> Check:
    try:
        with connect_admin(settings.layout) as daemon:
            answer = daemon.status()
    except DaemonUnreachable as error:
        return Check("daemon", Result.WARNING, error.message, error.hint)
    except ApplianceError as error:
        return Check("daemon", Result.ERROR, error.message, error.hint or "restart the daemon")
    failed = [
        f"{model.name} {model.version}".strip() for model in answer.models if _failed(model.state, model.reason)
    ]
    if failed:
        finding = f"{answer.state}, but not served: {', '.join(failed)}"
        return Check("daemon", Result.WARNING, finding, "see the reasons: appliance status")
    return Check("daemon", Result.OK, f"{answer.state}, process {answer.pid}")


def _failed(state: str, reason: str) -> bool:
    return state == "UNAVAILABLE" and reason not in ("", "unloaded")


def _check_clock(now: Callable[[], float] = time.time) -> Check:
    installed = Path(appliance.__file__).stat().st_mtime
    shown = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now()))
    if not installed - _DAY_S < now() < RELEASED.timestamp() + _FAR_AHEAD_S:
        finding = f"{shown} cannot be right: this software is newer" if now() < installed else f"{shown} is far off"
        return Check("clock", Result.WARNING, finding, "set it: timedatectl set-time 'YYYY-MM-DD HH:MM:SS'")
    return Check("clock", Result.OK, shown)


def _check_outbound_variables() -> Check:
    found = remove_outbound_variables()
    if found:
        finding = f"set: {', '.join(sorted(found))}; the daemon ignores them"
        return Check("variables", Result.WARNING, finding, f"remove them: unset {' '.join(sorted(found))}")
    return Check("variables", Result.OK, "no proxy and no OTEL_ variable is set")
