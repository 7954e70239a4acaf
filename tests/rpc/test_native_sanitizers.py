"""The native transport under the sanitizers for addresses and undefined behaviour."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

from tests.rpc.hostile_peer import HostilePeer
from tests.rpc.hostility import expanding_request, large_request, undisturbed
from tests.support.daemon import ROOT, DaemonProcess

FLAGS = "-fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=all -g"
REQUESTS = 3_000
EVERY = 50  # requests, one is cancelled
KILLED = 16
ABANDONED = 100


def missing():
    """What the extension cannot be built without; CMake comes with pip."""
    tools = [tool for tool in ("g++", "nm", "pkg-config") if shutil.which(tool) is None]
    if tools:
        return f"needs {', '.join(tools)}"
    found = subprocess.run(["pkg-config", "--exists", "grpc"], check=False).returncode == 0
    return "" if found else "needs the headers of gRPC: libgrpc-dev"


def runtime(name):
    """The library of a sanitizer, which must be loaded before Python is."""
    command = ["g++", f"-print-file-name={name}"]
    return os.path.realpath(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    """A directory with an instrumented `appliance_native`."""
    if (reason := missing()) and not os.environ.get("APPLIANCE_REQUIRE_NATIVE_TESTS"):
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("sanitized")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    options = [f"cmake.define.CMAKE_CXX_FLAGS={FLAGS}", "cmake.build-type=Debug", "install.strip=false"]
    settings = [f"--config-settings={option}" for option in options]
    native = ROOT / "appliance" / "rpc" / "native"
    subprocess.run([*pip, "wheel", native, "--no-deps", "-w", folder, *settings], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True)
    (module,) = (folder / "site").glob("appliance_native*.so")
    assert instruments(module) == {"__asan_", "__ubsan_"}
    return folder / "site"


def instruments(module):
    """By which sanitizers a module was instrumented: the functions of theirs that it calls."""
    symbols = subprocess.run(["nm", "-D", "--undefined-only", module], capture_output=True, text=True, check=True)
    return {name for name in ("__asan_", "__ubsan_") if name in symbols.stdout}


@pytest.mark.slow
@pytest.mark.parametrize("threads", ["2", *(pytest.param(n, marks=pytest.mark.exhaustive) for n in ("1", "4"))])
def test_no_sanitizer_finds_anything_under_a_varied_load(sanitized, hostile_models, tmp_path, monkeypatch, threads):
    reports = tmp_path / "report"
    body = tmp_path / "body"
    body.write_bytes(large_request())
    monkeypatch.setenv("LD_PRELOAD", " ".join(map(runtime, ("libasan.so", "libubsan.so", "libstdc++.so"))))
    monkeypatch.setenv("PYTHONPATH", str(sanitized))
    monkeypatch.setenv("PYTHONMALLOC", "malloc")
    monkeypatch.setenv("ASAN_OPTIONS", f"detect_leaks=0:log_path={reports}")  # Python's own are many
    monkeypatch.setenv("UBSAN_OPTIONS", f"print_stacktrace=1:log_path={reports}")
    daemon = DaemonProcess(hostile_models, settings={"SERVER_TRANSPORT": "native", "SERVER_IO_THREADS": threads})
    for name in ("LD_PRELOAD", "PYTHONPATH", "PYTHONMALLOC"):  # the daemon has them; clients need none
        monkeypatch.delenv(name)
    with daemon:
        assert str(sanitized) in memory_map(daemon)
        load(daemon, body)
        daemon.terminate()
        status = daemon.wait()

        assert [path.read_text() for path in tmp_path.glob("report*")] == []
        assert status == 0
        assert daemon.complaints == []


def memory_map(daemon):
    with open(f"/proc/{daemon.popen.pid}/maps") as maps:  # noqa: PTH123  (no file)
        return maps.read()


def load(daemon, body):
    """Unary, streams, large, cancelled, killed, abandoned, reloaded."""
    client = [sys.executable, "-m", "tests.rpc.varied_load", daemon.address, str(REQUESTS), str(EVERY)]
    doomed = [sys.executable, "-S", "-m", "tests.rpc.doomed_client", daemon.address]
    with undisturbed(daemon, 2**40):  # addresses that were freed are kept
        clients = [subprocess.Popen(client, cwd=ROOT) for _ in range(2)]
        for number in range(KILLED):
            command = [*doomed, ("sending", "receiving")[number % 2], body]
            with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as victim:
                victim.stdout.readline()
                victim.kill()
        for _ in range(ABANDONED):
            with HostilePeer(daemon.address, grants=False) as peer:
                for data in (expanding_request(), expanding_request()[:-2]):
                    peer.send_message(peer.open(), data)
        daemon.popen.send_signal(signal.SIGHUP)
        assert [client.wait() for client in clients] == [0, 0]
