"""The tokenizer, image processor and feature extractor of a Hugging Face directory: whichever are there."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import transformers

from appliance.convert.foreign_errors import refusing
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.sources.huggingface_config import read_object

_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model")
_PREPROCESSOR = "preprocessor_config.json"
_AUDIO_KEYS = ("sampling_rate", "feature_size")
PACKAGE_FILES = (
    *_TOKENIZER_FILES,
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    _PREPROCESSOR,
    "processor_config.json",
    "generation_config.json",
)
_TOKENIZER_FACTS = ("model_max_length", "padding_side", "truncation_side", "do_lower_case")


@dataclass(frozen=True, slots=True)
class Processors:
    """None: the directory has none."""

    tokenizer: Any
    image: Any
    audio: Any
    files: tuple[Path, ...]

    def description(self) -> Mapping[str, object]:
        """What a client must do before and after, in the processors' own words."""
        found: dict[str, object] = {}
        for name, processor in (("image", self.image), ("audio", self.audio)):
            if processor is not None:
                found[name] = {
                    key: value
                    for key, value in sorted(json.loads(processor.to_json_string()).items())
                    if value is not None
                }
        if self.tokenizer is not None:
            facts = {name: getattr(self.tokenizer, name, None) for name in _TOKENIZER_FACTS}
            found["text"] = {
                "tokenizer": type(self.tokenizer).__name__,
                **{name: value for name, value in facts.items() if value is not None and _is_plain(value)},
                "special_tokens": dict(sorted(self.tokenizer.special_tokens_map.items())),
            }
        return MappingProxyType(found)


def load_processors(directory: Path) -> Processors:
    """Load what is there. Raises ConversionRefused for files that cannot be read."""
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    has_tokenizer = any((directory / name).exists() for name in _TOKENIZER_FILES)
    preprocessor = _preprocessor_config(directory)
    is_audio = any(key in preprocessor for key in _AUDIO_KEYS)

    def refusal(said: str) -> ConversionRefused:
        return ConversionRefused(
            Reason.NO_CONFIG,
            f"the tokenizer or preprocessor files of {directory.name} cannot be read: {said}",
            hint="compare them with where they came from, or remove them to convert without",
        )

    with refusing(refusal):
        return Processors(
            tokenizer=transformers.AutoTokenizer.from_pretrained(directory, **options) if has_tokenizer else None,
            image=transformers.AutoImageProcessor.from_pretrained(directory, use_fast=False, **options)
            if preprocessor and not is_audio
            else None,
            audio=transformers.AutoFeatureExtractor.from_pretrained(directory, **options) if is_audio else None,
            files=tuple(directory / name for name in PACKAGE_FILES if (directory / name).is_file()),
        )


def _preprocessor_config(directory: Path) -> Mapping[str, Any]:
    path = directory / _PREPROCESSOR
    if not path.is_file():
        return {}
    return read_object(path)


def _is_plain(value: object) -> bool:
    return isinstance(value, (str, bool)) or (isinstance(value, int) and value < 1 << 31)
