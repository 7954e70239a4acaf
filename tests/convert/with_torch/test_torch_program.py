"""Programs saved by torch.export as sources: how they are called, how large their batches are, which are refused."""

import contextlib
import pickle
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from appliance.backends.onnxruntime import open_session
from appliance.convert.exported_model import Graph
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.samples import Array
from appliance.convert.sources.torch_program_source import export_torch_program
from tests.convert.source_requests import request_for

pytestmark = pytest.mark.slow


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.dense = nn.Linear(4, 3)

    def forward(self, image: Any) -> Any:
        return self.dense(torch.relu(self.norm(self.convolution(image))).mean((2, 3)))


class Scaled(nn.Module):
    """Takes an array by keyword and a number, and answers with a structure."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 3)

    def forward(self, x: Any, power: int, *, scale: Any) -> Any:
        return {"first": self.dense(x) * scale, "second": (self.dense(x) ** power,)}


class Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 3)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Any) -> Any:
        return self.dropout(self.dense(x))


class Counting(nn.Module):
    count: Any

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: Any) -> Any:
        self.count.add_(1)
        return x + self.count


class Returning(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 3)

    def forward(self, x: Any) -> Any:
        return self.dense(x), x


def save(
    path: Path,
    module: nn.Module,
    arguments: Sequence[Any],
    named: Mapping[str, Any] | None = None,
    batches: Mapping[str, Any] | None = None,
) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations, of its own code
        program = torch.export.export(module, tuple(arguments), dict(named or {}), dynamic_shapes=batches)
        torch.export.save(program, path)
    return path


def batch(most: int = 64) -> Any:
    return {0: torch.export.Dim("batch", min=1, max=most)}


def export(path: Path, out: str = "graphs") -> Graph:
    folder = path.parent / out
    folder.mkdir()
    (found,) = export_torch_program(path, folder, request_for(path, allow_pickle=True), lambda _: None).graphs
    return found


def refusal(path: Path) -> ConversionRefused:
    with pytest.raises(ConversionRefused) as refused:
        export(path)
    return refused.value


def assert_agrees(graph: Graph, inputs: Mapping[str, Array]) -> None:
    session = open_session(graph.file)
    names = [output.name for output in session.get_outputs()]
    wanted = graph.reference(inputs)
    for name, found in zip(names, session.run(names, dict(inputs)), strict=True):
        np.testing.assert_allclose(found, wanted[name], atol=1e-5)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(7)
    return Network().eval()


def test_a_program_with_a_free_batch_axis_is_compared_in_three_sizes(tmp_path: Path, network: nn.Module) -> None:
    graph = export(save(tmp_path / "n.pt2", network, [torch.rand(2, 1, 8, 8)], batches={"image": batch()}))

    assert [each.size for each in graph.batches][:3] == [1, 2, 8]
    assert graph.batched
    assert_agrees(graph, {"image": np.random.default_rng(1).random((8, 1, 8, 8), dtype=np.float32)})


def test_a_program_with_a_limit_of_its_own_is_given_no_larger_batch(tmp_path: Path, network: nn.Module) -> None:
    graph = export(save(tmp_path / "n.pt2", network, [torch.rand(2, 1, 8, 8)], batches={"image": batch(5)}))

    assert [each.size for each in graph.batches] == [1, 2, 5, 5, 5]
    assert graph.profiles["image"].max == (5, 1, 8, 8)


@pytest.mark.parametrize("rows", [1, 3])
def test_a_program_of_a_fixed_shape_keeps_it(tmp_path: Path, network: nn.Module, rows: int) -> None:
    graph = export(save(tmp_path / "n.pt2", network, [torch.rand(rows, 1, 8, 8)]))

    assert not graph.batched
    assert graph.profiles["image"].min == graph.profiles["image"].max == (rows, 1, 8, 8)
    assert_agrees(graph, graph.batches[0].inputs)


def test_keywords_numbers_and_structures_are_passed_as_the_program_wants_them(tmp_path: Path) -> None:
    axes = {"x": batch(), "power": None, "scale": batch()}
    named = {"scale": torch.rand(2, 1)}
    graph = export(save(tmp_path / "s.pt2", Scaled().eval(), [torch.rand(2, 4), 3], named, axes))

    assert set(graph.samples[0].inputs) == {"x", "scale"}
    assert set(graph.reference(graph.samples[0].inputs)) == {"output0", "output1"}
    assert graph.batched
    assert_agrees(graph, graph.batches[-1].inputs)


@pytest.mark.parametrize("module", [Dropping().train(), Counting().eval()])
def test_a_program_whose_answers_change_is_refused(tmp_path: Path, module: nn.Module) -> None:
    path = save(tmp_path / "m.pt2", module, [torch.rand(2, 4)], batches={"x": batch()})

    found = refusal(path)

    assert found.reason is Reason.UNSUPPORTED_ARCHITECTURE
    assert "model.eval()" in found.hint


def test_a_program_that_returns_its_input_is_refused_in_words(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pt2", Returning().eval(), [torch.rand(2, 4)], batches={"x": batch()})

    found = refusal(path)

    assert found.reason is Reason.EXPORT_FAILED
    assert "return only what it computed" in found.hint


def test_two_exports_give_the_same_bytes_without_traces_of_the_workstation(
    tmp_path: Path, network: nn.Module
) -> None:
    path = save(tmp_path / "n.pt2", network, [torch.rand(2, 1, 8, 8)], batches={"image": batch()})

    first, second = (export(path, out).file.read_bytes() for out in ("first", "second"))

    assert first == second
    assert b"test_torch_program" not in first
    assert bytes(tmp_path) not in first


class Marker:
    """A pickle that leaves a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.fixture
def hostile(tmp_path: Path, network: nn.Module) -> Path:
    """A program whose sample inputs are a pickle that leaves the file `was-opened`."""
    whole = save(tmp_path / "whole.pt2", network, [torch.rand(2, 1, 8, 8)])
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(tmp_path / "hostile.pt2", "w") as target:
        for name in source.namelist():
            is_pickle = name.endswith("sample_inputs/model.pt")
            target.writestr(name, pickle.dumps(Marker(tmp_path / "was-opened")) if is_pickle else source.read(name))
    return tmp_path / "hostile.pt2"


@pytest.mark.filterwarnings("ignore")  # torch tells that the file is broken, after it has run it
def test_torch_runs_the_code_of_a_hostile_program(hostile: Path) -> None:
    """The reason why programs are opened only if they are trusted. If this fails, torch has become safer."""
    with contextlib.suppress(Exception):
        torch.export.load(hostile)

    assert (hostile.parent / "was-opened").exists()


def test_a_hostile_program_is_not_opened_unless_it_is_trusted(hostile: Path) -> None:
    (hostile.parent / "graphs").mkdir()

    with pytest.raises(ConversionRefused) as refused:
        export_torch_program(hostile, hostile.parent / "graphs", request_for(hostile), lambda _: None)

    assert refused.value.reason is Reason.PICKLE
    assert not (hostile.parent / "was-opened").exists()
