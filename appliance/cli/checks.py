"""What `appliance doctor` examines, in this order: the software, the box, the service, the daemon.

Each check finds facts and never raises what it can name; none changes anything that outlives it.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import appliance
from appliance import RELEASED
from appliance.backends.probe_judgement import REINSTALL
from appliance.cli.backend_checks import checks_of_backends
from appliance.cli.check import AS_ROOT, Check, Result
from appliance.cli.client import connect_admin
from appliance.cli.crash_checks import checks_of_crashes
from appliance.cli.exit_codes import DaemonUnreachable
from appliance.cli.installed_packages import installed_version, is_within, requirements
from appliance.cli.listen_checks import check_listening
from appliance.cli.reference_trial import reference_computes
from appliance.cli.service_checks import checks_of_service, installed_unit, service_user
from appliance.cli.settings_check import check_settings
from appliance.cli.state_checks import check_registry, check_state_directory
from appliance.cli.transport_checks import check_certificates, check_transport
from appliance.cli.update_checks import checks_of_updates
from appliance.errors import ApplianceError
from appliance.process_environment import remove_outbound_variables
from appliance.rpc.pb import appliance_admin_pb2 as pb
from appliance.settings import Settings

OLDEST_PYTHON = (3, 11)
_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
_DAY_S = 86400
_FAR_AHEAD_S = 20 * 365 * _DAY_S  # this software will hardly run longer; it serves all the same
_SET_CLOCK = "set it: timedatectl set-time 'YYYY-MM-DD HH:MM:SS'"


def run_checks(config: Path | None, state: Path | None) -> list[Check]:
    """Examine everything."""
    outbound = _check_outbound_variables()  # takes them out: what follows must not use them
    unit = installed_unit()
    settings_check, settings = check_settings(config, state, service_user(unit))
    daemon = _check_daemon(settings)
    return [
        _check_python(),
        _check_packages(),
        _check_runtime_packages(),
        *checks_of_backends(),
        _check_reference(),
        settings_check,
        check_state_directory(settings),
        check_registry(settings),
        *checks_of_crashes(settings),
        *checks_of_updates(settings),
        *checks_of_service(settings.layout, lambda: unit),
        daemon.check,
        check_transport(settings.server, settings.layout),
        check_certificates(settings.server),
        _check_addresses(settings, daemon, as_root=os.geteuid() == 0 and service_user(unit) in ("", "root")),
        check_clock(),
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


class _Answers(Enum):
    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"  # this user may not ask


@dataclass(frozen=True, slots=True)
class _Daemon:
    check: Check
    answers: _Answers


def _check_daemon(settings: Settings) -> _Daemon:
    socket = settings.layout.admin_socket
    try:
        if socket.exists() and not os.access(socket, os.W_OK, effective_ids=True):
            check = Check("daemon", Result.WARNING, f"{socket} is not for this user", AS_ROOT)
            return _Daemon(check, _Answers.UNKNOWN)
        with connect_admin(settings.layout) as daemon:
            answer = daemon.status()
    except DaemonUnreachable as error:
        return _Daemon(Check("daemon", Result.WARNING, error.message, error.hint), _Answers.NO)
    except ApplianceError as error:
        check = Check("daemon", Result.ERROR, error.message, error.hint or "restart the daemon")
        return _Daemon(check, _Answers.YES)
    return _Daemon(_judge_daemon(answer), _Answers.YES)


def _judge_daemon(answer: pb.StatusResponse) -> Check:
    failed = [
        f"{model.name} {model.version}".strip() for model in answer.models if _failed(model.state, model.reason)
    ]
    if failed:
        finding = f"{answer.state}, but not served: {', '.join(failed)}"
        return Check("daemon", Result.WARNING, finding, "see the reasons: appliance status")
    return Check("daemon", Result.OK, f"{answer.state}, process {answer.pid}")


def _check_addresses(settings: Settings, daemon: _Daemon, *, as_root: bool) -> Check:
    if daemon.answers is _Answers.UNKNOWN:
        return Check("addresses", Result.WARNING, "this user cannot tell whether the daemon has them", AS_ROOT)
    return check_listening(settings.server.listen, daemon_runs=daemon.answers is _Answers.YES, as_root=as_root)


def _failed(state: str, reason: str) -> bool:
    return state == "UNAVAILABLE" and reason not in ("", "unloaded")


def check_clock(now: Callable[[], float] = time.time) -> Check:
    """Judge the clock by when this software was released: what it wrote itself carries a wrong clock's times."""
    shown = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now()))
    if now() < RELEASED.timestamp() - _DAY_S:
        finding = f"{shown} cannot be right: this software is of {RELEASED:%Y-%m-%d}"
        return Check("clock", Result.WARNING, finding, _SET_CLOCK)
    if now() > RELEASED.timestamp() + _FAR_AHEAD_S:
        finding = f"{shown} is far off: this software is of {RELEASED:%Y-%m-%d}"
        return Check("clock", Result.WARNING, finding, _SET_CLOCK)
    return Check("clock", Result.OK, shown)


def _check_outbound_variables() -> Check:
    found = remove_outbound_variables()
    if found:
        finding = f"set: {', '.join(sorted(found))}; the daemon ignores them"
        return Check("variables", Result.WARNING, finding, f"remove them: unset {' '.join(sorted(found))}")
    return Check("variables", Result.OK, "no proxy and no OTEL_ variable is set")
