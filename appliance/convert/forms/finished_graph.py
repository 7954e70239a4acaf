"""The last step of every form of a graph: sorted, freed of the tools' traces, checked by ONNX, written.

Invariant: what is written depends on the graph alone, so the same source and versions give the same bytes.
"""

import os
from graphlib import TopologicalSorter
from pathlib import Path

import onnx

from appliance.backends.onnx_reasons import short_reason
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.sources.graph_file import data_file, write_graph


def write_finished(model: onnx.ModelProto, target: Path) -> None:
    """Write a graph that a tool has made. Raises ConversionRefused, and leaves nothing, if it is not valid ONNX."""
    _sort_nodes(model.graph)
    _name_used_operator_sets(model)
    del model.metadata_props[:]
    del model.graph.value_info[:]  # the tools leave shapes of tensors that are gone
    write_graph(model, target)
    try:
        onnx.checker.check_model(os.fspath(target), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        target.unlink()
        data_file(target).unlink(missing_ok=True)
        raise ConversionRefused(
            Reason.EXPORT_FAILED,
            f"{target.name} would not be valid ONNX: {short_reason(error, os.fspath(target.parent))}",
            hint="convert without this form: --precision fp32",
        ) from error


def _sort_nodes(graph: onnx.GraphProto) -> None:
    """Put nodes behind those whose outputs they read; the tools append theirs at the end."""
    made_by = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    needs = {
        index: sorted({made_by[name] for name in _read_names(node) if name in made_by})
        for index, node in enumerate(graph.node)
    }
    if all(index > max(needed, default=-1) for index, needed in needs.items()):
        return
    nodes = [onnx.NodeProto.FromString(node.SerializeToString(deterministic=True)) for node in graph.node]
    del graph.node[:]
    graph.node.extend(nodes[index] for index in TopologicalSorter(needs).static_order())


def _read_names(node: onnx.NodeProto) -> list[str]:
    """What a node reads, also inside the branches and loop bodies that it holds."""
    names = list(node.input)
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            for inner_node in inner.node:
                names += _read_names(inner_node)
            names += [output.name for output in inner.output]  # a branch may hand on an outer value as it is
    return names


def _name_used_operator_sets(model: onnx.ModelProto) -> None:
    """Optimisers name every operator set that they know, in an order of their own."""
    used = {"ai.onnx" if node.domain == "" else node.domain for node in _all_nodes(model.graph)} | {"ai.onnx"}
    versions = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    del model.opset_import[:]
    model.opset_import.extend(
        onnx.helper.make_opsetid("" if domain == "ai.onnx" else domain, version)
        for domain, version in sorted(versions.items())
        if domain in used
    )


def _all_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    nodes = list(graph.node)
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                nodes += _all_nodes(inner)
    return nodes
