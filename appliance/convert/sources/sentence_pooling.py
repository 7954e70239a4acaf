"""Sentence embeddings: the pooling that a sentence-transformers directory describes becomes part of the graph.

Without it every client would have to know and repeat it, each in its own way.
Source of the rule: `modules.json` and `1_Pooling/config.json` of the directory.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.samples import Array
from appliance.convert.sources.graph_file import write_graph
from appliance.convert.sources.huggingface_config import CONFIG, MODULES, read_json, read_object
from appliance.convert.sources.source_files import list_source_files

OUTPUT = "sentence_embedding"
_HIDDEN, _MASK = "last_hidden_state", "attention_mask"
_TINY = 1e-9  # keeps a sentence of padding alone from dividing by zero; the value is sentence-transformers' own
_MODES = ("pooling_mode_cls_token", "pooling_mode_mean_tokens")


@dataclass(frozen=True, slots=True)
class SentencePooling:
    """How token vectors become one vector."""

    mean: bool  # of the tokens whose mask is 1; False: the first token
    normalized: bool

    def pool(self, hidden: Array, mask: Array) -> Array:
        """The rule in NumPy. hidden: [N, tokens, size], mask: [N, tokens]; returns [N, size]."""
        if self.mean:
            weights = mask[:, :, None].astype(np.float32)
            pooled = (hidden * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), _TINY)
        else:
            pooled = hidden[:, 0]
        if self.normalized:
            pooled = pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), _TINY)
        return np.asarray(pooled, dtype=np.float32)


def read_sentence_pooling(directory: Path) -> SentencePooling | None:
    """Read how the directory pools; None if it does not. Raises ConversionRefused for a way we do not know."""
    files = list_source_files(directory)
    if MODULES not in files:
        return None
    kinds = _modules(files[MODULES])
    if "Pooling" not in kinds:
        return None
    unknown = sorted(set(kinds) - {"Transformer", "Pooling", "Normalize"})
    file = f"{kinds['Pooling']}/{CONFIG}"
    if file not in files:
        raise _broken(f"{MODULES} names {file!r:.100}, which is not a file of the directory")
    config = read_object(files[file])
    modes = sorted(name for name, value in config.items() if name.startswith("pooling_mode_") and value is True)
    if unknown or len(modes) != 1 or modes[0] not in _MODES:
        found = ", ".join([*unknown, *modes])
        raise ConversionRefused(
            Reason.UNSUPPORTED_ARCHITECTURE,
            f"the sentence embedding is made by {found}; mean or first token, then normalisation, are supported",
            hint="remove modules.json to convert the token vectors alone",
        )
    return SentencePooling(mean=modes[0] == "pooling_mode_mean_tokens", normalized="Normalize" in kinds)


def append_pooling(file: Path, pooling: SentencePooling) -> None:
    """Add the output `sentence_embedding` to a graph that has `last_hidden_state` and `attention_mask`."""
    model = onnx.load(file)
    (hidden,) = (value for value in model.graph.output if value.name == _HIDDEN)
    size = hidden.type.tensor_type.shape.dim[2].dim_value
    last = _append_mean(model.graph) if pooling.mean else _append_first(model.graph)
    if pooling.normalized:
        last = _append_norm(model.graph, last)
    _add(model.graph, "Identity", [last], OUTPUT)
    batch = hidden.type.tensor_type.shape.dim[0].dim_param
    model.graph.output.append(helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, [batch, size]))
    write_graph(model, file)


def _append_mean(graph: Any) -> str:
    weights = _add(graph, "Cast", [_MASK], "pooling_mask", to=onnx.TensorProto.FLOAT)
    weights = _add(graph, "Unsqueeze", [weights, _constant(graph, "pooling_last", [-1])], "pooling_weights")
    weighted = _add(graph, "Mul", [_HIDDEN, weights], "pooling_weighted")
    axis = _constant(graph, "pooling_tokens", [1])
    total = _add(graph, "ReduceSum", [weighted, axis], "pooling_total", keepdims=0)
    count = _add(graph, "ReduceSum", [weights, axis], "pooling_count", keepdims=0)
    count = _add(graph, "Max", [count, _tiny(graph)], "pooling_divisor")
    return _add(graph, "Div", [total, count], "pooling_mean")


def _append_first(graph: Any) -> str:
    return _add(graph, "Gather", [_HIDDEN, _scalar(graph, "pooling_first")], "pooling_cls", axis=1)


def _append_norm(graph: Any, value: str) -> str:
    axis = _constant(graph, "pooling_size", [1])
    norm = _add(graph, "ReduceL2", [value, axis], "pooling_norm", keepdims=1)
    norm = _add(graph, "Max", [norm, _tiny(graph)], "pooling_length")
    return _add(graph, "Div", [value, norm], "pooling_unit")


def _add(graph: Any, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
    graph.node.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
    return output


def _constant(graph: Any, name: str, values: list[int]) -> str:
    graph.initializer.append(numpy_helper.from_array(np.array(values, dtype=np.int64), name))
    return name


def _scalar(graph: Any, name: str) -> str:
    graph.initializer.append(numpy_helper.from_array(np.array(0, dtype=np.int64), name))
    return name


def _tiny(graph: Any) -> str:
    name = "pooling_tiny"
    if all(tensor.name != name for tensor in graph.initializer):
        graph.initializer.append(numpy_helper.from_array(np.array(_TINY, dtype=np.float32), name))
    return name


def _modules(file: Path) -> dict[str, str]:
    """Kind of module -> folder that describes it."""
    entries = read_json(file)
    if not isinstance(entries, list):
        raise _broken(f"{MODULES} holds a {type(entries).__name__}, expected a list")
    found = {}
    for entry in entries:
        kind, folder = (entry.get("type"), entry.get("path", "")) if isinstance(entry, dict) else (None, None)
        if not (isinstance(kind, str) and isinstance(folder, str)):
            raise _broken(f"{MODULES} holds {entry!r:.100}, expected objects with 'type' and 'path'")
        found[kind.rpartition(".")[2]] = folder
    return found


def _broken(message: str) -> ConversionRefused:
    return ConversionRefused(
        Reason.NO_CONFIG, message, hint=f"bring {MODULES} and its folders again, or remove it to convert without"
    )
