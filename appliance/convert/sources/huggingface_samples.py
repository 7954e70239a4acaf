"""Inputs for a Hugging Face model: the person's own or made ones, through the model's own processors.

The names of the graph's inputs say what is wanted: `pixel_values` are pictures, `input_ids` texts, `input_values` and
`input_features` sounds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.samples import Array, Sample
from appliance.convert.sources.batches import make_batch
from appliance.convert.sources.huggingface_processors import Processors
from appliance.convert.sources.made_samples import SAMPLING_RATE_HZ, SENTENCES, made_ids, made_pictures, made_sounds
from appliance.convert.sources.own_samples import read_pictures, read_sounds, read_texts

SAMPLES = 12  # made ones
OWN_SAMPLES = 256  # read at most
_CHOICES = 4  # texts for one picture
_DEFAULT_PIXELS = 224
_DEFAULT_TOKENS = 128
_LENGTHS = (5, 11, 17, 8, 23)  # tokens, for models without a tokenizer
_MEL_AXIS = 2  # of a spectrogram [batch, time, mel]
_RANK_OF_WAVES = 2  # [batch, samples]; spectrograms have 3 axes

Arrays = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class InputSource:
    """Where inputs come from. folder: the person's own; None: made."""

    config: Any  # the model's PretrainedConfig
    processors: Processors
    folder: Path | None
    max_length: int  # tokens

    def samples(self, inputs: Mapping[str, tuple[int | str, ...]]) -> list[Sample]:
        """Make samples for a graph with these inputs (name -> shape)."""
        kinds = [kind for name, kind in _KINDS.items() if name in inputs]
        if not kinds:
            raise _unknown_input(", ".join(inputs))
        columns = [kind(self, inputs) for kind in kinds]
        if "pixel_values" in inputs and "input_ids" in inputs:
            columns[kinds.index(_texts)] = _choices(columns[kinds.index(_texts)], self.config)
        samples = [_joined([column[row] for column in columns]) for row in range(min(map(len, columns)))]
        return [Sample(sample.name, _exactly(sample.inputs, inputs)) for sample in samples]

    def has_one_picture_size(self) -> bool:
        """Say whether the image processor makes pictures of one size, whatever their own; False without one."""
        if self.processors.image is None:
            return False
        tall, wide = made_pictures(1, 200, 300)[0], made_pictures(1, 300, 200)[0]
        made = [self.processors.image(images=each, return_tensors="np")["pixel_values"] for each in (tall, wide)]
        return bool(made[0].shape == made[1].shape)


def _pictures(source: InputSource, inputs: Mapping[str, tuple[int | str, ...]]) -> list[Sample]:
    own = read_pictures(source.folder, OWN_SAMPLES) if source.folder else None
    pictures = own or [(f"drawing-{number}", picture) for number, picture in enumerate(made_pictures(SAMPLES))]
    return [Sample(name, _pixels(source, picture, inputs["pixel_values"])) for name, picture in pictures]


def _pixels(source: InputSource, picture: Any, shape: Sequence[int | str]) -> Arrays:
    channels = _channels(source.config, shape)
    if channels == 1:
        picture = picture.convert("L").convert("RGB")
    if source.processors.image is not None:
        found = source.processors.image(images=picture, return_tensors="np")
        arrays = {name: np.asarray(array) for name, array in found.items()}
        # Image processors make three channels; of a grey picture they are equal.
        return arrays | {"pixel_values": arrays["pixel_values"][:, :channels]}
    height, width = _picture_size(source.config, shape)
    pixels = np.asarray(picture.resize((width, height)), dtype=np.float32) / 127.5 - 1
    chosen = pixels[:, :, :1] if channels == 1 else np.resize(pixels, (height, width, channels))
    return {"pixel_values": np.ascontiguousarray(chosen.transpose(2, 0, 1)[None])}


def _picture_size(config: Any, shape: Sequence[int | str]) -> tuple[int, int]:
    vision = getattr(config, "vision_config", config)
    size = getattr(vision, "image_size", None) or _DEFAULT_PIXELS
    known = (size, size) if isinstance(size, int) else tuple(size)
    return tuple(  # type: ignore[return-value]  # two of them
        fixed if isinstance(fixed, int) else wanted for fixed, wanted in zip(shape[2:], known, strict=True)
    )


def _channels(config: Any, shape: Sequence[int | str]) -> int:
    vision = getattr(config, "vision_config", config)
    return shape[1] if isinstance(shape[1], int) else int(getattr(vision, "num_channels", 3))


def _texts(source: InputSource, inputs: Mapping[str, tuple[int | str, ...]]) -> list[Sample]:
    own = read_texts(source.folder, OWN_SAMPLES) if source.folder and "pixel_values" not in inputs else None
    texts = own or [(f"sentence-{number}", text) for number, text in enumerate(SENTENCES)]
    tokenizer = source.processors.tokenizer
    if tokenizer is None:
        vocabulary = getattr(source.config, "text_config", source.config).vocab_size
        lengths = [min(length, source.max_length) for length in _LENGTHS]
        return [
            Sample(f"tokens-{number}", _text_inputs(ids[None]))
            for number, ids in enumerate(made_ids(SAMPLES, lengths, vocabulary))
        ]
    samples = []
    for name, text in texts:
        ids = np.asarray(tokenizer(text, truncation=True, max_length=source.max_length)["input_ids"], dtype=np.int64)
        samples.append(Sample(name, _text_inputs(ids[None])))
    return samples


def _choices(texts: Sequence[Sample], config: Any) -> list[Sample]:
    """Several texts for each picture to choose from."""
    pad_token = getattr(getattr(config, "text_config", config), "pad_token_id", None) or 0
    groups = [[texts[(start + step) % len(texts)] for step in range(_CHOICES)] for start in range(len(texts))]
    return [Sample(group[0].name, make_batch(group, pad_token=int(pad_token)).inputs) for group in groups]


def _text_inputs(ids: Array) -> Arrays:
    return {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
        "position_ids": np.arange(ids.shape[1], dtype=np.int64)[None],
    }


def _sounds(source: InputSource, inputs: Mapping[str, tuple[int | str, ...]]) -> list[Sample]:
    name = next(name for name in ("input_values", "input_features") if name in inputs)
    extractor = source.processors.audio
    rate_hz = int(getattr(extractor, "sampling_rate", SAMPLING_RATE_HZ))
    own = read_sounds(source.folder, OWN_SAMPLES, rate_hz) if source.folder else None
    sounds = own or [(f"tones-{number}", sound) for number, sound in enumerate(made_sounds(SAMPLES))]
    if extractor is not None:
        return [
            Sample(label, _features(extractor(sound, sampling_rate=rate_hz, return_tensors="np")))
            for label, sound in sounds
        ]
    if len(inputs[name]) == _RANK_OF_WAVES:
        return [Sample(label, {name: sound[None]}) for label, sound in sounds]
    shape = [_spectrogram_axis(source.config, axis, size) for axis, size in enumerate(inputs[name])]
    return [Sample(label, {name: np.resize(sound, shape)}) for label, sound in sounds]


def _features(found: Any) -> Arrays:
    return {name: np.asarray(array) for name, array in found.items()}


def _spectrogram_axis(config: Any, axis: int, size: int | str) -> int:
    if axis == 0:
        return 1
    if isinstance(size, int):
        return size
    return int(getattr(config, "num_mel_bins", 80) if axis == _MEL_AXIS else getattr(config, "max_length", 1024))


_KINDS: dict[str, Callable[[InputSource, Mapping[str, tuple[int | str, ...]]], list[Sample]]] = {
    "pixel_values": _pictures,
    "input_ids": _texts,
    "input_values": _sounds,
    "input_features": _sounds,
}


def _joined(parts: Sequence[Sample]) -> Sample:
    return Sample(parts[0].name, {name: array for part in parts for name, array in part.inputs.items()})


def _exactly(arrays: Arrays, inputs: Mapping[str, tuple[int | str, ...]]) -> Arrays:
    """What the graph takes, no more; in its order."""
    for name in inputs:
        if name not in arrays:
            raise _unknown_input(name)
    return {name: arrays[name] for name in inputs}


def _unknown_input(name: str) -> ConversionRefused:
    return ConversionRefused(
        Reason.UNSUPPORTED_ARCHITECTURE,
        f"the exported graph takes '{name}', which the converter cannot fill",
        hint="export it yourself and convert the ONNX file: appliance convert model.onnx --samples DIR ...",
    )


def longest_text(config: Any, tokenizer: Any, asked: int) -> int:
    """Tokens that the model takes, at most. Raises ConversionRefused if more are asked for."""
    text = getattr(config, "text_config", config)
    positions = getattr(text, "max_position_embeddings", None) or getattr(text, "max_target_positions", None)
    if positions and getattr(config, "model_type", "") in _OFFSET_POSITIONS:
        positions -= (getattr(text, "pad_token_id", None) or 0) + 1
    limits = [limit for limit in (positions, getattr(tokenizer, "model_max_length", None)) if limit]
    limit = int(min(limits)) if limits else _DEFAULT_TOKENS
    if asked > limit:
        raise ConversionRefused(
            Reason.TOO_LONG,
            f"--max-length {asked} is longer than the model's {limit} tokens",
            hint=f"convert with --max-length {limit} or less",
        )
    return asked or min(limit, 512)


# RoBERTa and its kin number positions from pad_token_id + 1.
_OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert", "mpnet", "longformer"})
