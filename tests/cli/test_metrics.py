"""`appliance metrics`: Prometheus' text format, printed or put in place of a file."""

import re

import pytest

from appliance.cli.metric_families import metric_families
from appliance.cli.prometheus_text import MetricFamily, prometheus_text
from appliance.rpc.pb import appliance_admin_pb2 as pb
from tests.cli.terminal import Terminal

LINE = re.compile(r'[a-z_]+(\{[a-z]+="([^"\\\n]|\\.)*"(,[a-z]+="([^"\\\n]|\\.)*")*\})? [0-9.e+-]+')


def test_every_line_is_what_prometheus_reads(serving: Terminal) -> None:
    lines = serving.appliance("metrics").out.splitlines()

    assert all(LINE.fullmatch(line) or line.startswith(("# HELP ", "# TYPE ")) for line in lines)
    assert "appliance_ready 1" in lines
    assert 'appliance_model_ready{model="digits",version="1"} 1' in lines
    assert 'appliance_model_ready{model="broken",version="1"} 0' in lines
    assert any(line.startswith('nv_inference_count{model="digits",version="1"} ') for line in lines)
    assert 'appliance_model_device_info{model="digits",version="1",path="",device="CPUExecutionProvider"} 1' in lines


def test_a_file_is_replaced_as_a_whole_and_readable_by_others(serving: Terminal, tmp_path) -> None:
    target = tmp_path / "appliance.prom"
    target.write_text("old")
    target.chmod(0o600)

    serving.appliance("metrics", "--out", str(target))

    assert target.read_text().startswith("# HELP appliance_info ")
    assert target.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [target]


def test_a_place_that_cannot_be_written_is_said(serving: Terminal, tmp_path) -> None:
    result = serving.appliance("metrics", "--out", str(tmp_path / "missing" / "file"), code=1)

    assert "cannot be written: No such file" in result.story


def test_without_a_daemon_nothing_is_written(terminal: Terminal, tmp_path) -> None:
    terminal.appliance("metrics", "--out", str(tmp_path / "file"), code=3)

    assert list(tmp_path.iterdir()) == []


def test_a_build_and_the_paths_passed_over_are_counted() -> None:
    status = pb.StatusResponse(state="READY")
    model = status.models.add(name="m", version="2", state="READY", device="CPU", execution_path="cpu")
    model.passed_over.add(path="tensorrt", reason="its engine is being built")
    model.engine_build.fraction, model.engine_build.elapsed_s = 0.25, 12
    model.memory.add(kind="GPU", size_bytes=1 << 20)

    text = prometheus_text(metric_families(status))

    assert 'appliance_model_path_passed_over{model="m",version="2",path="tensorrt"} 1\n' in text
    assert 'appliance_engine_build_ratio{model="m",version="2"} 0.25\n' in text
    assert 'appliance_engine_build_seconds{model="m",version="2"} 12\n' in text
    assert 'appliance_model_gpu_bytes{model="m",version="2"} 1048576\n' in text


@pytest.mark.parametrize(
    ("value", "written"),
    [('say "hi"', r"say \"hi\""), ("back\\slash", r"back\\slash"), ("two\nlines", r"two\nlines")],
)
def test_labels_are_escaped(value: str, written: str) -> None:
    assert f'm{{l="{written}"}} 1\n' in prometheus_text([MetricFamily("m", "gauge", "h", [({"l": value}, 1)])])
