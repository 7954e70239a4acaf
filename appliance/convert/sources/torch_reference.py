"""The source's own computation as a function of arrays: PyTorch on the CPU, in FP32, without gradients."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutput

from appliance.convert.exported_model import Reference
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.samples import Array
from appliance.convert.sources.sentence_pooling import OUTPUT, SentencePooling


def model_reference(model: Any, outputs: Sequence[str], pooling: SentencePooling | None) -> Reference:
    """Run the whole model. Inputs and outputs have the names of the graph."""
    own = [name for name in outputs if name != OUTPUT or pooling is None]

    def run(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        with torch.inference_mode():
            found = model(**_tensors(inputs))
        arrays = {name: _array(found, name) for name in own}
        if pooling is not None:
            arrays[OUTPUT] = pooling.pool(arrays["last_hidden_state"], inputs["attention_mask"])
        return arrays

    return run


def encoder_reference(model: Any) -> Reference:
    """Run the encoder of a speech model: `input_features` -> `last_hidden_state`."""

    def run(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        with torch.inference_mode():
            found = model.get_encoder()(**_tensors(inputs))
        return {"last_hidden_state": _array(found, "last_hidden_state")}

    return run


def decoder_reference(model: Any) -> Reference:
    """Run the decoder of a speech model: `input_ids` and `encoder_hidden_states` -> `logits`."""

    def run(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        tensors = _tensors(inputs)
        encoded = BaseModelOutput(last_hidden_state=tensors["encoder_hidden_states"])
        with torch.inference_mode():
            found = model(decoder_input_ids=tensors["input_ids"], encoder_outputs=encoded, use_cache=False)
        return {"logits": _array(found, "logits")}

    return run


def _tensors(inputs: Mapping[str, Array]) -> dict[str, Any]:
    return {name: torch.from_numpy(array.copy()) for name, array in inputs.items()}


def _array(found: Any, name: str) -> Array:
    value = found.get(name)
    if value is None:
        raise ConversionRefused(
            Reason.UNSUPPORTED_ARCHITECTURE,
            f"the exported graph has an output '{name}' that the PyTorch model does not give: "
            f"it has {', '.join(found.keys())}",
            hint="convert without --task, or with the task that the model was trained for",
        )
    array: Array = value.numpy()
    return array
