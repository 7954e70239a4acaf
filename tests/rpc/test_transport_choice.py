"""Which transport serves, and that nothing of the other is in the process."""

import re
from pathlib import Path

import grpc
import pytest

from appliance.rpc.pb import appliance_admin_pb2 as admin
from tests.rpc.native_tests import HAS_EXTENSION, needs_extension
from tests.rpc.packages import write_onnx_identity
from tests.rpc.wire import answers_right
from tests.support.daemon import DaemonProcess


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    directory = tmp_path_factory.mktemp("one")
    write_onnx_identity(directory, "identity_fp32", "FP32")
    return directory


def transport_of(daemon):
    """What the administration says."""
    with grpc.insecure_channel(f"unix:{daemon.state}/run/admin.sock") as channel:
        call = channel.unary_unary("/appliance.admin.v1.ApplianceAdmin/Status")
        return admin.StatusResponse.FromString(call(admin.StatusRequest().SerializeToString())).transport


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


def test_auto_takes_the_native_one_where_it_is_installed(one):
    with DaemonProcess(one, settings={"SERVER_TRANSPORT": "auto"}) as daemon:
        assert transport_of(daemon) == ("native" if HAS_EXTENSION else "grpcio")


def test_native_without_the_extension_is_an_error_with_its_remedy(one, tmp_path, monkeypatch):
    """A directory that comes first in the path holds an extension that cannot be loaded, as after an upgrade."""
    (tmp_path / "appliance_native.py").write_text("raise ImportError('libgrpc.so.29: cannot open')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    daemon = DaemonProcess(one, settings={"SERVER_TRANSPORT": "native"})
    try:
        assert daemon.wait(20) == 78
        log = " ".join(daemon.log.split())
    finally:
        daemon.end()

    assert "the native transport cannot be loaded: libgrpc.so.29" in log
    assert "scripts/build-native" in log
    assert "Traceback" not in log
