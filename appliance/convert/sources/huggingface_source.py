"""A Hugging Face directory as it was found, before any library that could load it is imported.

Invariants: only regular files below the directory count, symbolic links and devices are refused; nothing that could
run code is accepted without the person's word; the weights named here are those that transformers will load.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.sources.huggingface_config import CONFIG, MODULES, read_config, refuse_remote_code
from appliance.convert.sources.huggingface_heads import task_of
from appliance.convert.sources.huggingface_weights import find_weights
from appliance.convert.sources.source_files import list_source_files, refuse_unpulled
from appliance.convert.sources.source_kind import existing_source
from appliance.convert.task import Task
from appliance.durable import hash_file

# Tokenizers and processors are free to name their vocabulary as they like; what ends otherwise is never read.
_READ_BY_LOADERS = (".json", ".txt", ".model", ".jinja", ".spm", ".bpe", ".tiktoken")
_INDEX = ".index.json"
_CARD = "README.md"


@dataclass(frozen=True, slots=True)
class HuggingFaceSource:
    """What a directory holds."""

    directory: Path
    config: Mapping[str, Any]
    architecture: str  # 'ViTForImageClassification'
    model_type: str  # 'vit'
    task: Task
    weights: tuple[Path, ...]  # one file, or the shards in the order of their names
    pickled: bool  # the weights are a pickle, which the person allowed
    digests: Mapping[str, str]  # every file that is used -> 'sha256:...', sorted by name
    card: Path | None  # what the makers say of it


def read_huggingface_source(text: str, task: Task | None, *, allow_pickle: bool) -> HuggingFaceSource:
    """Look at the directory named `text`; without a task the architecture tells it. Raises ConversionRefused."""
    directory = existing_source(text)
    if not directory.is_dir():
        raise _not_a_directory(directory)
    files = list_source_files(directory)
    config = read_config(directory, files)
    refuse_remote_code(directory, files)
    architecture, model_type = config["architectures"][0], config["model_type"]
    chosen = task_of(architecture, model_type, task)
    weights = find_weights(directory, files, allow_pickle=allow_pickle)
    used = sorted({*_read_by_loaders(files), *weights.files, *weights.indexes, *({_CARD} & files.keys())})
    for name in used:
        refuse_unpulled(files[name])
    return HuggingFaceSource(
        directory,
        config,
        architecture,
        model_type,
        chosen,
        tuple(files[name] for name in weights.files),
        weights.pickled,
        {name: f"sha256:{hash_file(files[name])}" for name in used},
        files.get(_CARD),
    )


def _not_a_directory(path: Path) -> ConversionRefused:
    return ConversionRefused(
        Reason.NO_CONFIG,
        f"{path.name} is a file; a Hugging Face model is a directory with {CONFIG} and model.safetensors",
        hint=f"name the directory: appliance convert {path.parent}",
    )


def _read_by_loaders(files: Mapping[str, Path]) -> list[str]:
    own = [
        name for name in files if "/" not in name and name.endswith(_READ_BY_LOADERS) and not name.endswith(_INDEX)
    ]
    return [*own, *(name for name in files if MODULES in files and name.endswith(f"/{CONFIG}"))]
