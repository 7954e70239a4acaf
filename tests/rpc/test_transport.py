"""Beginning and end of a daemon, its sockets, and many connections at once."""

import asyncio
import os
import shutil
import signal
import socket
import stat
import tempfile
import threading
import time
from pathlib import Path

import grpc
import psutil
import pytest

from appliance.rpc.pb import grpc_service_pb2 as pb
from tests.rpc.native_tests import TRANSPORTS
from tests.rpc.packages import write_onnx_identity, write_reference
from tests.rpc.wire import FOUR, SERVICE, answers_right, infer, queue_depth, request
from tests.support.daemon import DaemonProcess

CONNECTIONS = 200
DELAY = 'max_batch_size = 1\nparameters.delay_ms = "{}"\n'
WAIT_S = 20.0


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A directory of one quick model and one that takes 200 ms."""
    directory = tmp_path_factory.mktemp("few")
    write_onnx_identity(directory, "identity_fp32", "FP32")
    write_reference(directory, "waits", "FP32", DELAY.format(200))
    return directory


@pytest.fixture
def state():
    """A path that is short enough for Unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="a-"))
    yield path
    shutil.rmtree(path)


def ended(models, **named):
    """Start one that must end by itself; return (status, log)."""
    daemon = DaemonProcess(models, **named)
    try:
        return daemon.wait(WAIT_S), " ".join(daemon.log.split())  # a terminal's width breaks lines anywhere
    finally:
        daemon.end()


def wait_until(condition):
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


@pytest.mark.slow
def test_a_second_daemon_on_one_state_directory_is_refused(few, state):
    with DaemonProcess(few, state=state) as first, first.channel() as channel:
        status, log = ended(few, state=state)

        assert status == 75
        assert f"another appliance (process {first.popen.pid}) serves the state directory {state}" in log
        assert "Traceback" not in log
        assert answers_right(channel)
        with first.channel(over_unix=True) as unix:
            assert answers_right(unix)


@pytest.mark.slow
def test_a_port_in_use_is_refused(few):
    with DaemonProcess(few) as first:
        status, log = ended(few, listen=first.address)

    assert status == 75
    assert f"cannot listen on {first.address}" in log
    assert "Traceback" not in log


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", ["appliance.sock", "admin.sock"])
def test_a_file_in_the_place_of_a_socket_is_refused_and_left_alone(few, state, name, transport):
    """Whether or not something is served already by then."""
    (state / "run").mkdir(parents=True)
    (state / "run" / name).write_text("mine")

    status, log = ended(few, state=state, settings={"SERVER_TRANSPORT": transport})

    assert status == 1
    assert f"cannot listen on unix:{state}/run/{name}: there is a file, and it is not a socket" in log
    assert [complaint for complaint in ("Traceback", "never awaited", "loop is closed") if complaint in log] == []
    assert (state / "run" / name).read_text() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_socket_without_its_directory_says_so(few, state, transport):
    """Nobody has that address: what is missing is the directory."""
    status, log = ended(few, listen=f"unix:{state}/missing/a.sock", settings={"SERVER_TRANSPORT": transport})

    assert status == 75
    assert f"cannot listen on unix:{state}/missing/a.sock: its directory is missing" in log
    assert f"ls -ld {state}/missing" in log
    assert "Traceback" not in log


@pytest.mark.slow
def test_a_state_directory_too_long_for_sockets_is_refused(few, tmp_path):
    status, log = ended(few, state=tmp_path / ("x" * 100))

    assert status == 1
    assert "at most 107" in log
    assert "Traceback" not in log


@pytest.mark.slow
def test_sockets_of_a_killed_daemon_are_replaced(few, state):
    with DaemonProcess(few, state=state) as first:
        first.popen.kill()
        first.wait()
        assert (state / "run" / "appliance.sock").exists()

    with DaemonProcess(few, state=state) as second, second.channel(over_unix=True) as channel:
        assert answers_right(channel)


@pytest.mark.slow
def test_sockets_are_for_their_group_and_the_administration_for_its_owner(few, state):
    with DaemonProcess(few, state=state):
        modes = [stat.S_IMODE((state / "run" / name).stat().st_mode) for name in ("appliance.sock", "admin.sock")]

    assert modes == [0o660, 0o600]
    assert not (state / "run" / "appliance.sock").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_in_flight_are_answered_before_the_end(few, number):
    """Eight requests of 200 ms each on one instance: the last one is answered 1.6 s after the signal."""
    with DaemonProcess(few) as daemon, daemon.channel() as channel:
        method = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        futures = [method.future(request("waits").SerializeToString(), timeout=WAIT_S) for _ in range(8)]
        wait_until(lambda: queue_depth(daemon, "waits") == 7)

        daemon.popen.send_signal(number)
        daemon.wait_for_log("draining")
        with daemon.channel() as late, pytest.raises(grpc.RpcError) as refused:
            infer(late, request("identity_fp32"))

        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        answers = [pb.ModelInferResponse.FromString(future.result()) for future in futures]
        assert [answer.raw_output_contents[0] for answer in answers] == [FOUR] * 8
        assert daemon.wait() == 0
        assert daemon.complaints == []


@pytest.mark.slow
def test_under_load_every_request_is_answered_or_refused_as_unavailable(few):
    codes, started = [], threading.Barrier(9)

    def load(daemon, model):
        with daemon.channel() as channel:
            started.wait()
            while True:
                try:
                    infer(channel, request(model))
                    codes.append(grpc.StatusCode.OK)
                except grpc.RpcError as error:
                    codes.append(error.code())
                    return

    with DaemonProcess(few) as daemon:
        models = ["identity_fp32"] * 4 + ["waits"] * 4
        threads = [threading.Thread(target=load, args=(daemon, model)) for model in models]
        for thread in threads:
            thread.start()
        started.wait()
        wait_until(lambda: len(codes) > 200)
        daemon.terminate()
        status = daemon.wait()
        for thread in threads:
            thread.join()

        assert status == 0
        assert daemon.complaints == []
    assert codes.count(grpc.StatusCode.UNAVAILABLE) == 8
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}


@pytest.mark.slow
def test_a_client_that_asks_again_at_once_is_refused_once_and_then_finds_nobody(few):
    """A refusal that came before the end of the connection would bring the next request into gRPC's CANCELLED."""
    refusals = []
    with DaemonProcess(few) as daemon, daemon.channel() as channel:
        assert answers_right(channel)
        daemon.terminate()
        daemon.wait_for_log("draining")
        while not refusals or "failed to connect" not in refusals[-1].details():
            with pytest.raises(grpc.RpcError) as refused:
                infer(channel, request("identity_fp32"))
            refusals.append(refused.value)
        status = daemon.wait()

    assert status == 0
    assert {refusal.code() for refusal in refusals} == {grpc.StatusCode.UNAVAILABLE}
    assert [("has stopped accepting" in refusal.details()) for refusal in refusals] == [True, False]


@pytest.mark.slow
def test_a_stream_that_nobody_closes_does_not_hold_up_the_end_for_longer_than_asked(few):
    with DaemonProcess(few, settings={"SERVER_DRAIN_TIMEOUT_S": "1"}) as daemon, daemon.channel() as channel:
        closing = threading.Event()

        def messages():
            yield request("identity_fp32").SerializeToString()
            closing.wait(WAIT_S)

        call = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")(messages())
        next(call)
        started_s = time.monotonic()
        daemon.terminate()
        status = daemon.wait()
        closing.set()

        assert status == 0
        assert time.monotonic() - started_s < 5
        assert daemon.complaints == []


@pytest.mark.slow
def test_an_execution_that_does_not_end_is_left_behind_with_status_1(tmp_path):
    write_reference(tmp_path, "stuck", "FP32", DELAY.format(2500))
    with DaemonProcess(tmp_path, settings={"SERVER_DRAIN_TIMEOUT_S": "0.5"}) as daemon, daemon.channel() as channel:
        method = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        futures = [method.future(request("stuck").SerializeToString(), timeout=WAIT_S) for _ in range(2)]
        wait_until(lambda: queue_depth(daemon, "stuck") == 1)

        daemon.terminate()
        status = daemon.wait(2)

        assert status == 1
        assert all(future.exception() is not None for future in futures)
        assert "did not end within 0.5 s" in daemon.log


@pytest.mark.slow
def test_two_hundred_connections_at_once_are_served_and_given_back(daemon):
    process = psutil.Process(daemon.popen.pid)
    files, threads = process.num_fds(), process.num_threads()
    body = request("identity_fp32").SerializeToString()

    async def connect():
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(daemon.address, options) as channel:
            method = channel.unary_unary(f"/{SERVICE}/ModelInfer")
            return [await method(body, timeout=60) for _ in range(3)]

    async def storm():
        return await asyncio.gather(*(connect() for _ in range(CONNECTIONS)))

    before = daemon.rss_bytes
    for _ in range(3):
        answers = asyncio.run(storm())
        assert len(answers) == CONNECTIONS
        assert len({answer for three in answers for answer in three}) == 1

    wait_until(lambda: process.num_fds() <= files + 5)
    assert process.num_threads() <= threads + 20
    assert daemon.rss_bytes - before < 100_000_000


def test_connections_that_say_nothing_or_nonsense_disturb_nobody(daemon, channel):
    host, port = daemon.address.split(":")
    sockets = [socket.create_connection((host, int(port))) for _ in range(CONNECTIONS)]
    for number, connection in enumerate(sockets):
        if number % 2:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n" if number % 4 == 1 else os.urandom(1000))

    right = [answers_right(channel) for _ in range(20)]
    for connection in sockets:
        connection.close()

    assert all(right)
    with daemon.channel() as late:
        assert answers_right(late)
