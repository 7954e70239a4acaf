"""The service called by itself, over its own socket."""

import asyncio
from pathlib import Path

import pytest

from appliance.rpc.self_call import self_call
from tests.rpc.packages import write_onnx_identity
from tests.support.daemon import DaemonProcess


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    directory = tmp_path_factory.mktemp("one")
    write_onnx_identity(directory, "identity_fp32", "FP32")
    with DaemonProcess(directory) as process:
        yield process


def test_it_has_nothing_to_say_where_all_is_well(daemon):
    assert asyncio.run(self_call(daemon.unix, ["identity_fp32"])) == ""
    assert asyncio.run(self_call(daemon.unix, [])) == ""


def test_a_model_that_is_not_ready_is_named(daemon):
    said = asyncio.run(self_call(daemon.unix, ["identity_fp32", "missing"]))

    assert said == "the service says that 'missing' is not ready"


def test_nobody_there_is_said_too(tmp_path: Path):
    said = asyncio.run(self_call(f"unix:{tmp_path}/nobody.sock", []))

    assert said.startswith("the service does not answer its own call: UNAVAILABLE: ")
