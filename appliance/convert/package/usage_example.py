"""A few lines of Python that call a served model with tritonclient."""

import json

from appliance.convert.package.golden_writer import GoldenSet, array_files
from appliance.convert.package.served_graph import ServedGraph
from appliance.model.datatype import Datatype
from appliance.model.signature import SignatureTensor


def usage_example(served: ServedGraph, golden: GoldenSet) -> str:
    """Return Markdown with code that runs beside this card, against a daemon on the same machine."""
    wanted = [tensor for tensor in served.signature.inputs if not tensor.optional]
    arrays = [_array(served, golden, tensor) for tensor in wanted]
    tensors = [
        f"triton.InferInput({_text(tensor.name)}, {variable}.shape, {_text(tensor.datatype.wire_name)})"
        f".set_data_from_numpy({variable})"
        for tensor, variable in zip(wanted, map(_variable, range(len(wanted))), strict=True)
    ]
    code = [
        "import numpy",
        "import tritonclient.grpc as triton",
        "",
        *(f"{_variable(place)} = {array}" for place, array in enumerate(arrays)),
        f"inputs = [{_joined(tensors)}]",
        f'answer = triton.InferenceServerClient("localhost:8001").infer({_text(served.name)}, inputs)',
        f"print(answer.as_numpy({_text(served.signature.outputs[0].name)}))",
    ]
    return "\n".join(["```python", *code, "```"])


def _array(served: ServedGraph, golden: GoldenSet, tensor: SignatureTensor) -> str:
    if golden.samples:
        file = array_files(1, golden.samples[0])[0][tensor.name]
        as_text = ".astype(object)" if tensor.datatype is Datatype.BYTES else ""
        return f'numpy.load("golden/{file}"){as_text}'
    shape = served.graph.samples[0].inputs[tensor.name].shape
    return f"numpy.zeros({tuple(shape)}, {_text(tensor.datatype.numpy.name)})"


def _text(text: str) -> str:
    return json.dumps(text)  # JSON's strings are Python's too


def _variable(place: int) -> str:
    return f"array{place}"


def _joined(tensors: list[str]) -> str:
    return tensors[0] if len(tensors) == 1 else "\n    " + ",\n    ".join(tensors) + ",\n"
