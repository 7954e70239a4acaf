import json
from dataclasses import replace

import numpy as np
import pytest

from appliance.convert.exported_model import Graph
from appliance.convert.precision import Form
from appliance.convert.report.report_document import plain, report_document, report_json
from appliance.convert.validation.worst_difference import worst_difference
from appliance.convert.variant import Latency
from appliance.model.engine import ShapeRange
from tests.convert.conversions import (
    a_conversion,
    a_difference,
    a_request,
    a_variant,
    an_exported_model,
    comparisons,
)

NAN, INFINITY = float("nan"), float("inf")


def test_the_keys_of_the_document_are_stable():
    document = report_document(a_conversion())

    assert list(document) == [
        "format", "model", "source", "options", "samples_are_real", "graphs", "validation", "histogram_decades",
        "variants", "machine", "preprocessing", "tool_versions",
    ]  # fmt: skip
    assert list(document["variants"][0]) == [
        "form", "files", "size_bytes", "chosen", "within_tolerance", "verdict", "parser", "tolerance", "worst",
        "latencies", "comparisons",
    ]  # fmt: skip
    assert list(document["variants"][0]["comparisons"][0]) == [
        "graph", "case", "batch_size", "shapes", "absolute_error", "relative_error", "cosine", "agreement",
        "histogram",
    ]  # fmt: skip


def test_the_document_is_json_that_strict_readers_take():
    text = report_json(a_conversion())

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert json.loads(text, parse_constant=refuse) == report_document(a_conversion())


def test_numbers_that_json_does_not_have_become_text():
    conversion = a_conversion([replace(a_variant(chosen=True), comparisons=comparisons(a_difference(1.0, NAN, NAN)))])
    document = report_document(replace(conversion, variants=[*conversion.variants, a_variant(Form.INT8_CPU)]))

    assert document["variants"][0]["worst"]["cosine"] == "NaN"
    assert document["variants"][1]["tolerance"]["relative_error"] == "Infinity"
    assert plain(-INFINITY) == "-Infinity"


def test_no_path_of_the_workstation_gets_into_the_document():
    text = report_json(a_conversion())

    assert "/home" not in text
    assert "someone" not in text
    assert '"name": "resnet"' in text


def test_a_source_with_a_slash_at_the_end_keeps_its_name():
    document = report_document(a_conversion(request=a_request(source="/home/someone/models/resnet/")))

    assert document["source"]["name"] == "resnet"


def test_files_are_named_relative_to_the_package_and_only_those_that_are_in_it():
    variants = report_document(a_conversion())["variants"]

    assert {variant["form"]: variant["files"] for variant in variants} == {
        "fp32": {"model": "3/model.onnx"},
        "fp16": {"model": "3/model.fp16.onnx"},
        "int8-dynamic": {"model": "3/model.int8-dynamic.onnx"},
        "int8-cpu": {"model": "3/model.int8-cpu.onnx"},
        "int8-tensorrt": {},
    }


def test_the_order_in_which_files_were_read_does_not_change_the_document():
    conversion = a_conversion()
    turned = replace(conversion, source_digests=dict(reversed(conversion.source_digests.items())))

    assert list(conversion.source_digests) != list(turned.source_digests)
    assert report_json(conversion) == report_json(turned)


def test_throughput_is_rows_over_time_and_unknown_where_the_clock_saw_nothing():
    variant = replace(a_variant(chosen=True), latencies=[Latency(4, 8.0, 20), Latency(8, 0.0, 20)])
    document = report_document(a_conversion([variant]))

    assert [latency["rows_per_s"] for latency in document["variants"][0]["latencies"]] == [500.0, "NaN"]


def test_a_form_that_could_not_be_written_is_in_the_document_without_numbers():
    failed = replace(a_variant(Form.FP16, verdict="it fails: no kernel"), graphs={}, size_bytes=0, comparisons=())
    document = report_document(a_conversion([a_variant(chosen=True), failed]))

    assert document["variants"][1]["worst"] is None
    assert document["variants"][1]["within_tolerance"] is False
    assert document["variants"][1]["files"] == {}


def test_both_graphs_of_a_speech_model_are_described():
    def graph(name: str) -> Graph:
        return replace(an_exported_model().graphs[0], name=name, profiles={"x": ShapeRange((1, 8), (2, 8), (4, 8))})

    exported = an_exported_model(graphs=[graph("encoder"), graph("decoder")])
    document = report_document(a_conversion(exported=exported))

    assert [found["name"] for found in document["graphs"]] == ["encoder", "decoder"]
    assert document["graphs"][0]["profiles"] == {"x": {"min": [1, 8], "opt": [2, 8], "max": [4, 8]}}


def test_numbers_of_numpy_become_plain_ones():
    assert plain({"mean": (np.float32(0.5), np.int64(3)), "on": np.bool_(True)}) == {"mean": [0.5, 3], "on": True}


def test_what_json_cannot_hold_is_a_fault_of_ours():
    with pytest.raises(TypeError, match="object in a report"):
        plain({"processor": object()})


def test_the_worst_of_many_comparisons_does_not_hide_what_is_not_a_number():
    good, bad = a_difference(1e-5), replace(a_difference(1e-3, 0.5, 0.25), relative_error=NAN)
    found = worst_difference([*comparisons(bad), *comparisons(good)])
    turned = worst_difference([*comparisons(good), *comparisons(bad)])

    assert found is not None
    assert turned is not None
    assert np.isnan(found.relative_error)
    assert np.isnan(turned.relative_error)
    assert (found.absolute_error, found.cosine, found.agreement) == (1e-3, 0.5, 0.25)
    assert sum(found.histogram) == 4 * sum(good.histogram) + 4 * sum(bad.histogram)


def test_the_worst_of_nothing_is_nothing():
    assert worst_difference([]) is None
