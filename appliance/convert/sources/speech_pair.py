"""A speech model with encoder and decoder as two graphs, each a model of its own: a server can join them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from appliance.convert.exported_model import Graph, Reference
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.request import ConversionRequest
from appliance.convert.samples import Array, Sample
from appliance.convert.sources.graph_file import clean, read_signature
from appliance.convert.sources.huggingface_samples import InputSource
from appliance.convert.sources.row_independence import answers_rows_alone
from appliance.convert.sources.shapes import ShapeRules, find_shapes
from appliance.convert.sources.torch_reference import decoder_reference, encoder_reference
from appliance.convert.task import Task

ENCODER, DECODER = "encoder", "decoder"
_FILES = {ENCODER: "encoder_model.onnx", DECODER: "decoder_model.onnx"}
_TOKENS = 6  # that the samples of the decoder hold, by its own greedy choice
_MOST_TOKENS = 448


def speech_graphs(
    model: Any, folder: Path, inputs: InputSource, calibration: InputSource, request: ConversionRequest
) -> list[Graph]:
    """Describe both graphs in `folder`. Raises ConversionRefused if the exporter wrote others."""
    files = {name: folder / file for name, file in _FILES.items()}
    if not all(file.exists() for file in files.values()):
        found = ", ".join(sorted(path.name for path in folder.glob("*.onnx"))) or "nothing"
        raise ConversionRefused(
            Reason.EXPORT_FAILED,
            f"the exporter wrote {found}, expected model.onnx, or {' and '.join(_FILES.values())}",
            hint="name the task that the model was trained for with --task",
        )
    encode, decode = encoder_reference(model), decoder_reference(model)
    wanted = read_signature(files[ENCODER]).inputs
    sounds, other_sounds = inputs.samples(wanted), calibration.samples(wanted) if calibration.folder else []

    def texts(sounds: Sequence[Sample]) -> list[Sample]:
        return [_decoder_sample(model, sample, encode(sample.inputs), decode) for sample in sounds]

    return [
        _graph(ENCODER, files[ENCODER], encode, (sounds, other_sounds), request, inputs),
        _graph(DECODER, files[DECODER], decode, (texts(sounds), texts(other_sounds)), request, inputs),
    ]


def _graph(
    name: str,
    file: Path,
    reference: Reference,
    samples_and_calibration: tuple[Sequence[Sample], Sequence[Sample]],
    request: ConversionRequest,
    inputs: InputSource,
) -> Graph:
    samples, calibration = samples_and_calibration
    signature = read_signature(file)
    tokens = min(inputs.max_length, _MOST_TOKENS)
    shapes = find_shapes(file, signature, samples, reference, ShapeRules(request.max_batch_size, tokens, 0))
    clean(file, shapes.fixed)
    batched = answers_rows_alone(Task.SPEECH_RECOGNITION, reference, shapes.batches)
    return Graph(
        name, file, reference, samples, shapes.batches, shapes.profiles, batched=batched, calibration=calibration
    )


def _decoder_sample(model: Any, sound: Sample, encoded: Mapping[str, Array], decode: Reference) -> Sample:
    """Tokens as the model itself writes them for this sound."""
    hidden = encoded["last_hidden_state"]
    start = getattr(model.config, "decoder_start_token_id", None)
    ids = np.array([[0 if start is None else start]], dtype=np.int64)
    for _ in range(_TOKENS - 1):
        logits = decode({"input_ids": ids, "encoder_hidden_states": hidden})["logits"]
        ids = np.concatenate([ids, logits[:, -1].argmax(axis=-1)[:, None].astype(np.int64)], axis=1)
    return Sample(sound.name, {"input_ids": ids, "encoder_hidden_states": hidden})
