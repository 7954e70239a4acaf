"""What `appliance doctor` says of the transport and of the certificates of its listeners."""

import datetime as dt
import os
import subprocess
from pathlib import Path

import pytest

from appliance.cli.check import Result
from appliance.cli.transport_checks import check_certificates, check_transport
from appliance.settings import ServerSettings
from appliance.state_layout import SYSTEM_STATE_DIRECTORY, StateLayout
from tests.cli.terminal import ROOT
from tests.rpc.authority import Authority
from tests.rpc.native_tests import HAS_EXTENSION, environment_without_extension

DAY = dt.timedelta(days=1)
NOW = dt.datetime.now(dt.UTC)


HERE = StateLayout(Path(".appliance"))
ON_A_BOX = StateLayout(SYSTEM_STATE_DIRECTORY)


def extension(directory: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """Have a directory come first in the path of every process that is started."""
    (directory / "appliance_native.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", f"{directory}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


def test_grpcio_is_there() -> None:
    assert check_transport(ServerSettings(transport="grpcio"), HERE).result is Result.OK


def test_auto_is_no_error_whatever_is_installed() -> None:
    check = check_transport(ServerSettings(transport="auto"), HERE)

    assert check.result is not Result.ERROR
    assert check.finding.startswith("native, over gRPC" if HAS_EXTENSION else "grpcio")


@pytest.fixture(scope="module")
def without_extension(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment_without_extension(tmp_path_factory.mktemp("without"))


def checked_without_extension(python: Path, transport: str, state: Path) -> list[str]:
    """Result, finding and remedy where the extension is not installed."""
    program = (
        "import sys; from pathlib import Path; from appliance.cli.transport_checks import check_transport;"
        "from appliance.settings import ServerSettings; from appliance.state_layout import StateLayout;"
        "check = check_transport(ServerSettings(transport=sys.argv[1]), StateLayout(Path(sys.argv[2])));"
        "print(check.result.value, check.finding, check.remedy, sep='\\n')"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-c", program, transport, state]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("state", "remedy"),
    [(Path(".appliance"), "scripts/build-native"), (SYSTEM_STATE_DIRECTORY, "install a software release")],
)
def test_a_native_transport_that_is_not_installed_is_told_and_is_no_fault(
    without_extension: Path, state: Path, remedy: str
) -> None:
    result, finding, told = checked_without_extension(without_extension, "auto", state)

    assert (result, finding) == ("ok", "grpcio; the native transport is not installed")
    assert told.startswith(remedy)


def test_a_native_transport_that_is_asked_for_and_not_installed_is_an_error(without_extension: Path) -> None:
    result, finding, told = checked_without_extension(without_extension, "native", Path(".appliance"))

    assert (result, finding) == ("error", "the native transport is not installed")
    assert told.endswith('or say: server.transport = "grpcio"')


def test_a_native_transport_that_cannot_be_loaded_is_an_error_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extension(tmp_path, monkeypatch, "raise ImportError('libgrpc.so.29: cannot open')")

    check = check_transport(ServerSettings(transport="native"), HERE)

    assert check.result is Result.ERROR
    assert "libgrpc.so.29: cannot open" in check.finding
    assert "scripts/build-native" in check.remedy


@pytest.mark.parametrize(("version", "result"), [("29.0.0", Result.WARNING), ("34.0.0", Result.OK)])
def test_an_old_core_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, result: Result) -> None:
    extension(tmp_path, monkeypatch, f"GRPC_CORE_VERSION = '{version}'")

    check = check_transport(ServerSettings(transport="native"), HERE)

    assert (check.result, version in check.finding) == (result, True)
    assert ("--own-core" in check.remedy) == (result is Result.WARNING)


def with_tls(directory: Path, days: int) -> ServerSettings:
    """Of a box whose certificate lasts so long, and whose authority's does not matter."""
    certificate, key = Authority(directory, "site").issue("box", "localhost", days=days)
    return ServerSettings(tls_certificate=certificate, tls_key=key)


@pytest.mark.parametrize(
    ("after_days", "result"), [(0, Result.OK), (75, Result.WARNING), (91, Result.ERROR), (-2, Result.ERROR)]
)
def test_a_certificate_is_judged_by_its_days(tmp_path: Path, after_days: int, result: Result) -> None:
    check = check_certificates(with_tls(tmp_path, days=90), NOW + after_days * DAY)

    assert check.result is result
    assert bool(check.remedy) == (result is not Result.OK)


def test_an_authority_that_ends_is_told_with_its_file(tmp_path: Path) -> None:
    """Its own lasts a day."""
    settings = with_tls(tmp_path, days=90).model_copy(update={"tls_client_authorities": tmp_path / "site.pem"})

    check = check_certificates(settings)

    assert check.result is Result.WARNING
    assert str(tmp_path / "site.pem") in check.finding


def test_a_key_of_another_certificate_is_an_error(tmp_path: Path) -> None:
    settings = with_tls(tmp_path, days=90)
    _, other = Authority(tmp_path, "other").issue("someone", "localhost")

    check = check_certificates(settings.model_copy(update={"tls_key": other}))

    assert check.result is Result.ERROR
    assert "is not that of the certificate" in check.finding


def test_without_tls_there_is_nothing_to_look_at() -> None:
    assert check_certificates(ServerSettings()).result is Result.OK
