"""Very many requests: what the daemon holds does not grow with their number."""

import subprocess
import sys

import pytest

from appliance.rpc.pb import grpc_service_pb2 as pb
from tests.rpc.hostility import GROWTH_BYTES, NOISE_BYTES, Footprint, lost_bytes, undisturbed
from tests.rpc.wire import call
from tests.support.daemon import ROOT

ROUNDS = 10
CLIENTS = 2


@pytest.mark.slow
@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.exhaustive)])
def test_what_a_daemon_holds_does_not_grow_with_the_number_of_requests(attacked, count):
    """The last rounds are compared with the first: 170 bytes lost for each request would be seen, of a million 17."""
    start, rss_bytes, files = Footprint(attacked), [], []
    command = [sys.executable, "-m", "tests.rpc.varied_load", attacked.address, str(count // ROUNDS // CLIENTS)]
    with undisturbed(attacked, 2 * GROWTH_BYTES):
        for _ in range(ROUNDS):
            clients = [subprocess.Popen(command, cwd=ROOT) for _ in range(CLIENTS)]
            assert [client.wait() for client in clients] == [0] * CLIENTS
            rss_bytes.append(attacked.rss_bytes)
            files.append(start.files_now)

    assert answered(attacked) >= count - count // 1000  # the rest was cancelled, some too late
    found = [f"{size / 1e6:.1f}" for size in (start.rss_bytes, *rss_bytes)]
    print(f"{count}: RSS in MB {found}, files {start.files} {files}")  # noqa: T201
    assert lost_bytes(rss_bytes) < NOISE_BYTES
    assert max(files) <= start.files + 16


def answered(daemon):
    """Inferences that the daemon has counted."""
    with daemon.channel() as channel:
        data = call(channel, "ModelStatistics", pb.ModelStatisticsRequest().SerializeToString())
    return sum(row.inference_stats.success.count for row in pb.ModelStatisticsResponse.FromString(data).model_stats)
