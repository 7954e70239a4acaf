"""Which transport serves and says so, and that nothing of the other is in the process."""

import re
from pathlib import Path

import grpc
import pytest

from appliance.rpc.pb import appliance_admin_pb2 as admin
from appliance.rpc.pb import grpc_service_pb2 as pb
from appliance.rpc.transport_choice import how_to_serve_again
from appliance.state_layout import StateLayout
from tests.rpc.native_tests import HAS_EXTENSION, TRANSPORTS, environment_without_extension, needs_extension
from tests.rpc.packages import write_onnx_identity
from tests.rpc.wire import answers_right, call
from tests.support.daemon import DaemonProcess


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    directory = tmp_path_factory.mktemp("one")
    write_onnx_identity(directory, "identity_fp32", "FP32")
    return directory


def transport_of(daemon):
    """What the administration says."""
    with grpc.insecure_channel(f"unix:{daemon.state}/run/admin.sock") as channel:
        status = call(channel, "/appliance.admin.v1.ApplianceAdmin/Status", b"")
        return admin.StatusResponse.FromString(status).transport


def libraries_of(daemon):
    """Names of the shared libraries in the process."""
    maps = Path(f"/proc/{daemon.popen.pid}/maps").read_text()
    return {Path(path).name for path in re.findall(r"/\S+\.so\S*", maps)}


@pytest.mark.parametrize(
    ("transport", "its_own", "the_others"),
    [
        pytest.param("native", "appliance_native", "cygrpc", marks=needs_extension),
        ("grpcio", "cygrpc", "appliance_native"),
    ],
)
def test_a_transport_serves_without_the_library_of_the_other_in_the_process(one, transport, its_own, the_others):
    with DaemonProcess(one, settings={"SERVER_TRANSPORT": transport}) as daemon, daemon.channel() as channel:
        assert answers_right(channel)
        assert transport_of(daemon) == transport
        libraries = libraries_of(daemon)

    assert any(name.startswith(its_own) for name in libraries)
    assert not any(name.startswith(the_others) for name in libraries)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_journal_and_metadata_name_the_transport(one, transport):
    with DaemonProcess(one, settings={"SERVER_TRANSPORT": transport}) as daemon, daemon.channel() as channel:
        metadata = pb.ServerMetadataResponse.FromString(call(channel, "ServerMetadata", b""))
        log = daemon.log

    assert [entry for entry in metadata.extensions if entry.startswith("transport")] == [f"transport({transport})"]
    assert re.search(rf"listening on 127\.0\.0\.1:\d+, unix:\S+ \(transport: {transport}\)", log)
    assert "is not installed" not in log


def test_auto_takes_the_native_one_where_it_is_installed(one):
    with DaemonProcess(one, settings={"SERVER_TRANSPORT": "auto"}) as daemon:
        assert transport_of(daemon) == ("native" if HAS_EXTENSION else "grpcio")


@pytest.fixture(scope="module")
def without_extension(tmp_path_factory):
    return environment_without_extension(tmp_path_factory.mktemp("without"))


@pytest.fixture
def no_path(monkeypatch):
    """The extension may be found by PYTHONPATH."""
    monkeypatch.delenv("PYTHONPATH", raising=False)


@pytest.mark.usefixtures("no_path")
def test_auto_without_the_extension_serves_over_grpcio_and_says_how_to_get_it(one, without_extension):
    with DaemonProcess(one, settings={"SERVER_TRANSPORT": "auto"}, python=without_extension) as daemon:
        assert transport_of(daemon) == "grpcio"
        told = [line for line in daemon.log.splitlines() if "over grpcio" in line]

    assert len(told) == 1
    assert " INFO " in told[0]
    assert "over grpcio; the native transport is not installed: scripts/build-native --own-core" in told[0]


@pytest.mark.usefixtures("no_path")
def test_native_without_the_extension_is_an_error_with_its_remedy(one, without_extension):
    log = refused_start(one, "native", python=without_extension)

    assert "server.transport: the native transport is not installed" in log
    assert "scripts/build-native --own-core (README: The native transport), or say: server." in log


@pytest.mark.parametrize("transport", ["native", "auto"])
def test_an_extension_that_cannot_be_loaded_ends_the_start_for_good(one, tmp_path, monkeypatch, transport):
    """Under `auto` too. A directory that comes first in the path holds a broken one, as after an upgrade."""
    (tmp_path / "appliance_native.py").write_text("raise ImportError('libgrpc.so.29: cannot open')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    log = refused_start(one, transport)

    assert "server.transport: the native transport cannot be loaded: libgrpc.so.29" in log
    assert "scripts/build-native" in log


def refused_start(models, transport, **options):
    """What a daemon says that ends with 78, after which systemd leaves it down."""
    daemon = DaemonProcess(models, settings={"SERVER_TRANSPORT": transport}, **options)
    try:
        assert daemon.wait(20) == 78
        log = " ".join(daemon.log.split())
    finally:
        daemon.end()
    assert "Traceback" not in log
    return log


@pytest.mark.parametrize(("root", "expected"), [("/var/lib/appliance", "software release"), ("/srv", "build-native")])
def test_the_remedy_is_one_that_can_be_had_there(root, expected):
    """An installed box has no scripts and no compiler."""
    remedy = how_to_serve_again(StateLayout(Path(root)))

    assert [word for word in ("software release", "build-native") if word in remedy] == [expected]
    assert 'server.transport = "grpcio"' in remedy
