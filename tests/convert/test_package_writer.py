"""Which files a package has and where it lies; the same bytes each time."""

import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from appliance.convert.conversion import Conversion
from appliance.convert.package.package_writer import require_free_place, write_packages
from appliance.convert.precision import Form
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.errors import Failed
from appliance.model.engine import ShapeRange
from appliance.model.identity import ModelName, ModelVersion
from appliance.registry.package import read_package
from tests.convert.real_conversions import (
    LEAF_FILES,
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
from tests.registry.packages import files_below
from tests.support.onnx_models import write_mlp


def write(conversion: Conversion, when: str = WHEN) -> list[Path]:
    return write_packages(conversion, PAGES, ignore, when=when)


def arrays(file: Path) -> list[bytes]:
    """Raises if the file with the weights is not where the graph says."""
    return [numpy_helper.to_array(tensor).tobytes() for tensor in onnx.load(file).graph.initializer]


@pytest.fixture
def leaves(tmp_path: Path) -> Conversion:
    return a_leaf_conversion(tmp_path / "work", tmp_path / "packages" / "leaves")


def test_a_package_holds_what_was_found_out_and_every_variant_within_tolerance(leaves: Conversion) -> None:
    (place,) = write(leaves)

    assert set(files_below(place)) == LEAF_FILES
    assert read_package(place).licence == "Apache-2.0"
    assert [entry.name for entry in place.parent.iterdir()] == ["leaves"]


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    found = [
        files_below(write(a_leaf_conversion(tmp_path / run / "work", tmp_path / run / "leaves"))[0])
        for run in ("one", "two")
    ]

    assert found[0] == found[1]


def test_only_provenance_knows_when_it_was_written(tmp_path: Path) -> None:
    found = [
        files_below(write(a_leaf_conversion(tmp_path / "work", tmp_path / when / "leaves"), when)[0])
        for when in ("2024-06-01T12:00:00Z", "2025-01-01T00:00:00Z")
    ]

    assert {path for path in found[0] if found[0][path] != found[1][path]} == {"provenance.json"}


def test_no_path_of_the_workstation_gets_into_a_package(tmp_path: Path) -> None:
    conversion = a_leaf_conversion(
        tmp_path / "work", tmp_path / "leaves", source=str(tmp_path / "source"), samples=tmp_path / "pictures"
    )
    (place,) = write(conversion)

    assert [path for path, content in files_below(place).items() if str(tmp_path).encode() in content] == []


def test_the_chosen_variant_is_the_one_that_the_configuration_names(leaves: Conversion) -> None:
    (place,) = write(choosing(leaves, Form.FP16))

    assert read_package(place).versions[ModelVersion(1)].model_file == "1/model.fp16.onnx"


def test_an_encoder_and_a_decoder_become_two_packages_in_one_step(tmp_path: Path) -> None:
    files = [write_mlp(tmp_path / f"{name}_model.onnx", WIDTHS) for name in ("encoder", "decoder")]
    graphs = [mlp_graph(file, name=name) for file, name in zip(files, ("encoder", "decoder"), strict=True)]
    exported = an_exported_model(graphs, labels=[], label_output="")
    variants = [a_variant(graphs, Form.FP32, files, chosen=True)]
    places = write(a_conversion(a_request(tmp_path / "speech"), exported, variants))

    assert [place.relative_to(tmp_path).as_posix() for place in places] == [
        "speech/speech-encoder",
        "speech/speech-decoder",
    ]
    assert [read_package(place).name for place in places] == ["speech-encoder", "speech-decoder"]


def test_a_model_with_another_name_than_its_place_lies_inside(tmp_path: Path) -> None:
    (place,) = write(a_leaf_conversion(tmp_path / "work", tmp_path / "out", name=ModelName("leaves")))

    assert place == tmp_path / "out" / "leaves"
    assert read_package(place).name == "leaves"


def test_weights_in_a_file_of_their_own_are_found_under_their_new_name(tmp_path: Path) -> None:
    plain = write_mlp(tmp_path / "plain.onnx", WIDTHS)
    file = tmp_path / "exported.onnx"
    onnx.save(onnx.load(plain), file, save_as_external_data=True, location="exported.onnx.data", size_threshold=0)
    graphs = [mlp_graph(file)]
    variants = [a_variant(graphs, Form.FP32, [file], chosen=True)]
    (place,) = write(a_conversion(a_request(tmp_path / "leaves"), an_exported_model(graphs), variants))

    assert (place / "1" / "model.onnx.data").read_bytes() == (tmp_path / "exported.onnx.data").read_bytes()
    assert arrays(place / "1" / "model.onnx") == arrays(plain)
    assert "1/model.onnx.data" in json.loads((place / "provenance.json").read_text())["onnx"]


@pytest.mark.parametrize("version", [1, 2])
def test_a_place_that_is_taken_is_refused_and_left_as_it_is(leaves: Conversion, version: int) -> None:
    (place,) = write(leaves)
    before = files_below(place)
    again = replace(leaves, request=replace(leaves.request, version=ModelVersion(version)))

    with pytest.raises(ConversionRefused, match=f"--out .*/version-{version}/leaves") as refused:
        write(again)

    assert refused.value.reason is Reason.EXISTS
    assert files_below(place) == before


def test_a_file_and_a_dangling_link_are_taken_places_and_an_empty_directory_is_not(tmp_path: Path) -> None:
    file, link, empty = tmp_path / "file", tmp_path / "link", tmp_path / "empty"
    file.touch()
    link.symlink_to("nowhere")
    empty.mkdir()

    for taken in (file, link):
        with pytest.raises(ConversionRefused):
            require_free_place(a_request(taken))
    require_free_place(a_request(empty))


def test_an_empty_directory_becomes_the_package(leaves: Conversion) -> None:
    leaves.request.out.mkdir(parents=True)
    (place,) = write(leaves)

    assert read_package(place).name == "leaves"


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(Failed, match="cannot be written"):
        write(a_leaf_conversion(tmp_path / "work", tmp_path / "file" / "leaves"))


def test_a_label_that_is_no_line_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    conversion = a_leaf_conversion(tmp_path / "work", tmp_path / "packages" / "leaves")
    broken = replace(conversion, exported=replace(conversion.exported, labels=["healthy", "ru\u2028st", "a", "b"]))

    with pytest.raises(ConversionRefused, match=r"the label of class 1 is 'ru\\u2028st'"):
        write(broken)

    assert not (tmp_path / "packages").exists()


def test_a_graph_whose_rows_depend_on_each_other_is_served_without_batching(tmp_path: Path) -> None:
    file = write_mlp(tmp_path / "model.onnx", WIDTHS)
    graphs = [mlp_graph(file, batched=False)]
    variants = [a_variant(graphs, Form.FP32, [file], chosen=True)]
    (place,) = write(a_conversion(a_request(tmp_path / "leaves"), an_exported_model(graphs), variants))

    config = read_package(place).config
    assert (config.max_batch_size, config.dynamic_batching) == (0, None)


def test_the_smallest_of_the_profiles_bounds_the_batch(tmp_path: Path) -> None:
    file = write_mlp(tmp_path / "model.onnx", WIDTHS)
    graphs = [mlp_graph(file, profiles={"INPUT0": ShapeRange((1, 8), (2, 8), (3, 8))})]
    variants = [a_variant(graphs, Form.FP32, [file], chosen=True)]
    (place,) = write(a_conversion(a_request(tmp_path / "leaves"), an_exported_model(graphs), variants))

    assert read_package(place).config.max_batch_size == 3
