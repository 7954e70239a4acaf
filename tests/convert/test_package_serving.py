"""Converted packages on a box: added to a registry, served, asked by selftest and by the example on the card."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from appliance.convert.package.package_writer import write_packages
from appliance.convert.precision import Form
from tests.cli.conftest import short_directory
from tests.cli.terminal import Terminal
from tests.convert.real_conversions import (
    PAGES,
    WHEN,
    WIDTHS,
    a_conversion,
    a_leaf_conversion,
    a_request,
    a_variant,
    an_exported_model,
    choosing,
    ignore,
    mlp_graph,
)
from tests.support.onnx_models import write_mlp

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Terminal, Path]]:
    """A daemon on a registry with four packages: FP32 and another variant served, and a pair without batches."""
    out = tmp_path_factory.mktemp("packages")
    places = write_packages(a_leaf_conversion(out / "work", out / "leaves"), PAGES, ignore, when=WHEN)
    other = choosing(a_leaf_conversion(out / "work", out / "coarse-leaves"), Form.FP16)
    places += write_packages(other, PAGES, ignore, when=WHEN)
    files = [write_mlp(out / "work" / f"{name}_model.onnx", WIDTHS) for name in ("encoder", "decoder")]
    graphs = [
        mlp_graph(file, name=name, batched=False) for file, name in zip(files, ("encoder", "decoder"), strict=True)
    ]
    exported = an_exported_model(graphs, labels=[], label_output="")
    pair = a_conversion(a_request(out / "speech"), exported, [a_variant(graphs, Form.FP32, files, chosen=True)])
    places += write_packages(pair, PAGES, ignore, when=WHEN)
    with short_directory() as state:
        terminal = Terminal(state, out)
        terminal.appliance("models", "add", *places)
        for place in places:
            terminal.appliance("models", "activate", place.name, "1")
        with terminal.daemon():
            yield terminal, out


def test_every_golden_sample_is_answered_as_the_source_answered(box: tuple[Terminal, Path]) -> None:
    findings = box[0].appliance("selftest", "--json").json

    assert [(one["model"], one["ok"], one["problem"]) for one in findings] == [
        (model, True, "")
        for model in ("coarse-leaves", "leaves", "speech-decoder", "speech-encoder")
        for _ in range(4)
    ]
    assert [one["expected"] for one in findings if one["model"] == "leaves"] == [
        "healthy",
        "mildew",
        "mildew",
        "mildew",
    ]


def test_the_example_on_the_card_runs_as_it_stands(box: tuple[Terminal, Path]) -> None:
    terminal, out = box
    package = out / "leaves"
    found = re.search(r"```python\n(.*)```", (package / "card.md").read_text(), re.DOTALL)
    listening = re.search(r"listening on ([0-9.]+:\d+)", (terminal.state / "daemon.log").read_text())
    assert found is not None
    assert listening is not None
    code = found.group(1).replace("localhost:8001", listening.group(1))
    environment = os.environ | {"PYTHONWARNINGS": "error"}
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=package, env=environment, check=True, capture_output=True, text=True
    ).stdout
    expected = np.load(package / "golden" / "1.output0.OUTPUT0.npy")

    numbers = [float(text) for text in re.findall(r"-?\d+\.?\d*(?:e[-+]\d+)?", answer)]
    assert np.allclose(numbers, expected, rtol=1e-4)


def test_the_registry_knows_licence_and_origin(box: tuple[Terminal, Path]) -> None:
    (version,) = box[0].appliance("models", "show", "leaves", "--json").json["versions"]

    assert version["licence"] == "Apache-2.0"
    assert version["provenance"]["architecture"] == "LeafForImageClassification"


def test_a_second_version_from_a_place_of_its_own_joins_the_first_in_the_registry(tmp_path: Path) -> None:
    first = a_leaf_conversion(tmp_path / "work", tmp_path / "leaves")
    second = replace(first, request=replace(first.request, out=tmp_path / "version-2" / "leaves", version=2))
    places = [*write_packages(first, PAGES, ignore, when=WHEN), *write_packages(second, PAGES, ignore, when=WHEN)]
    with short_directory() as state:
        terminal = Terminal(state)
        for place in places:
            terminal.appliance("models", "add", place)
        (model,) = terminal.appliance("models", "list", "--json").json

    assert [version["version"] for version in model["versions"]] == [1, 2]
