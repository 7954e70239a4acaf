"""ONNX files that a careful loader refuses or survives: each breaks one rule and is otherwise sound.

Every function writes one file, makes its folder where needed and returns its path. The docstrings say what
ONNX Runtime 1.28 does with the file on the CPU; our own checks should not depend on it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.support.onnx_models import IR_VERSION, OPSET, tensor, write_add_sub

FUTURE_OPSET = 9999
LOAD_BOMB_ELEMENTS = 210_000_000
RUN_BOMB_ELEMENTS = 425_000_000
EXTERNAL_ELEMENTS = 16
MEMORY_ADDRESS = "*/_ORT_MEM_ADDR_/*"
EXTENSIONS_DOMAIN = "com.microsoft.extensions"


def write_external_data(path: Path, location: str, offset: int = 0) -> Path:
    """OUTPUT0 = INPUT0 + 64 bytes read from `location`; FP32 [N, 16]. Sound if the file lies beside the model."""
    weights = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[EXTERNAL_ELEMENTS])
    weights.data_location = TensorProto.EXTERNAL
    facts = {"location": location, "offset": str(offset), "length": str(4 * EXTERNAL_ELEMENTS)}
    for key, value in facts.items():
        weights.external_data.add(key=key, value=value)
    nodes = [helper.make_node("Add", ["INPUT0", "weights"], ["OUTPUT0"])]
    return write_unchecked(path, nodes, ["N", EXTERNAL_ELEMENTS], initializers=[weights])


def write_external_data_outside(path: Path) -> Path:
    """Weights from a file above the model's folder. Refused at load: the path escapes the folder."""
    return write_external_data(path, "../../etc/passwd")


def write_external_data_absolute(path: Path) -> Path:
    """Weights from a file of the system. Refused at load: absolute paths are not allowed."""
    return write_external_data(path, "/etc/passwd")


def write_external_data_in_memory(path: Path, address: int = 4096) -> Path:
    """Weights from an address in the server's own memory, by the runtime's internal marker. Refused at load."""
    return write_external_data(path, MEMORY_ADDRESS, address)


def write_unknown_operator(path: Path) -> Path:
    """An operator that the standard domain does not have. Refused at load."""
    return write_unchecked(path, [helper.make_node("NoSuchOperator", ["INPUT0"], ["OUTPUT0"])], ["N", 16])


def write_unknown_domain(path: Path) -> Path:
    """An operator of a domain nobody registered. Refused at load."""
    nodes = [helper.make_node("Identity", ["INPUT0"], ["OUTPUT0"], domain="org.example.nowhere")]
    return write_unchecked(path, nodes, ["N", 16], {"": OPSET, "org.example.nowhere": 1})


def write_future_opset(path: Path) -> Path:
    """An identity that asks for an opset far in the future. Refused at load."""
    return write_unchecked(
        path, [helper.make_node("Identity", ["INPUT0"], ["OUTPUT0"])], ["N", 16], {"": FUTURE_OPSET}
    )


def write_load_bomb(path: Path, elements: int = LOAD_BOMB_ELEMENTS) -> Path:
    """A file of about 200 bytes that takes 8 bytes per element while it loads: 1.7 GB unless told otherwise."""
    return write_bomb(path, elements)


def write_run_bomb(path: Path, elements: int = RUN_BOMB_ELEMENTS) -> Path:
    """A file of about 200 bytes that loads in 50 MB and takes 4 bytes per element at every run: 1.7 GB."""
    return write_bomb(path, elements)


def write_bomb(path: Path, elements: int) -> Path:
    """OUTPUT0 = INPUT0 + the sum of a constant tensor that exists in the file by its shape only; FP32 [N, 1].

    The runtime folds constants of up to 1 GiB while it loads, and leaves larger ones for each run. If memory is too
    short for the tensor itself, it gives the folding up with a warning: the load succeeds and every run fails.
    Hence a trial under a memory limit must run the model, not only load it.
    """
    shape = helper.make_tensor("shape", TensorProto.INT64, [1], [elements])
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=1),
        helper.make_node("Add", ["INPUT0", "sum"], ["OUTPUT0"]),
    ]
    return write_unchecked(path, nodes, ["N", 1], initializers=[shape])


def write_cloud_operator(path: Path, domain: str = EXTENSIONS_DOMAIN) -> Path:
    """An operator that sends its input to a cloud service. Refused at load as long as no extension is registered.

    INPUT0 BYTES [N] (key, then text) -> OUTPUT0 BYTES [N]; domain ai.onnx.contrib is the older name.
    """
    node = helper.make_node(
        "AzureTextToText",
        ["INPUT0", "INPUT0"],
        ["OUTPUT0"],
        domain=domain,
        model_uri="https://models.invalid/v1/completions",
        model_name="none",
        timeout_seconds=1,
    )
    return write_unchecked(path, [node], ["N"], {"": OPSET, domain: 1}, datatype="BYTES")


def write_truncated(path: Path, share: float = 0.6) -> Path:
    """The first part of a sound file, as a broken copy leaves it. Refused at load: not a protobuf message."""
    content = write_add_sub(path).read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def write_random_bytes(path: Path, size_bytes: int = 4096) -> Path:
    """Noise, the same every time. Refused at load: not a protobuf message."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.random.default_rng(0).bytes(size_bytes))
    return path


def write_unchecked(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int | str],
    opsets: dict[str, int] | None = None,
    initializers: Sequence[TensorProto] = (),
    *,
    datatype: str = "FP32",
) -> Path:
    """Write these nodes from INPUT0 to OUTPUT0, both of one shape, without looking whether they make sense."""
    inputs, outputs = [tensor("INPUT0", datatype, shape)], [tensor("OUTPUT0", datatype, shape)]
    graph = helper.make_graph(list(nodes), path.stem, inputs, outputs, list(initializers))
    imports = [helper.make_opsetid(domain, version) for domain, version in (opsets or {"": OPSET}).items()]
    model = helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION, producer_name="tests")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path
