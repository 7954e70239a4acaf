"""Which files of a Hugging Face directory hold the weights. The order of preference is that of transformers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.sources.source_files import read_source_text, refuse_unpulled

_SAFE = "model.safetensors"
_PICKLED = "pytorch_model.bin"
_PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
_LEFT_BY_TRAINERS = (
    "training_args.bin",
    "optimizer.bin",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "scaler.pt",
)
_WEIGHT_SUFFIXES = (".safetensors", ".h5", ".msgpack", ".gguf", ".onnx")
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """Names relative to the directory, sorted."""

    files: tuple[str, ...]
    indexes: tuple[str, ...]  # at most one: it says which shard holds which tensor
    pickled: bool


def find_weights(directory: Path, files: Mapping[str, Path], *, allow_pickle: bool) -> WeightFiles:
    """Find the weights that transformers would load from `directory`. Raises ConversionRefused."""
    if (safe := _single_or_shards(_SAFE, files)) is not None:
        return WeightFiles(*safe, pickled=False)
    weights = [name for name in files if "/" not in name and name not in _LEFT_BY_TRAINERS]
    pickles = [name for name in weights if name.endswith(_PICKLE_SUFFIXES)]
    if pickles and not allow_pickle:
        raise _pickle(directory, pickles)
    if (pickled := _single_or_shards(_PICKLED, files)) is not None:
        return WeightFiles(*pickled, pickled=True)
    raise _no_weights(directory, weights)


def _single_or_shards(name: str, files: Mapping[str, Path]) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return the names of the weights and of their index; None if there are neither."""
    index = name + ".index.json"
    if name in files:
        return (name,), ()
    return (_shards(files[index], files), (index,)) if index in files else None


def _shards(index: Path, files: Mapping[str, Path]) -> tuple[str, ...]:
    refuse_unpulled(index)
    shards = _weight_map(index)
    missing = [shard for shard in shards if shard not in files]
    if missing:
        raise ConversionRefused(
            Reason.NO_WEIGHTS,
            f"{len(missing)} of {len(shards)} files that {index.name} names are missing: {_some(missing)}",
            hint="copy the whole directory again from where it is complete",
        )
    return shards


def _weight_map(index: Path) -> tuple[str, ...]:
    try:
        shards = sorted(set(json.loads(read_source_text(index))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _broken_index(index, "holds no 'weight_map' of tensors and files") from error
    outside = [shard for shard in shards if not isinstance(shard, str) or "/" in shard or "\\" in shard]
    if outside or not shards:
        raise _broken_index(index, f"names no files of this directory: {_some(outside) or 'none at all'}")
    return tuple(shards)


def _broken_index(index: Path, what: str) -> ConversionRefused:
    return ConversionRefused(
        Reason.NO_WEIGHTS, f"{index.name} {what}", hint=f"bring {index.name} again from where the weights came from"
    )


def _pickle(directory: Path, pickles: list[str]) -> ConversionRefused:
    return ConversionRefused(
        Reason.PICKLE,
        f"the weights of {directory.name} are pickles ({_some(pickles)}), which can run code when they are read: "
        f"expected {_SAFE}",
        hint="where you trust them, save them as safetensors: model.save_pretrained(DIR, safe_serialization=True); "
        "or accept the risk with --allow-pickle",
    )


def _no_weights(directory: Path, names: list[str]) -> ConversionRefused:
    others = [name for name in names if name.endswith((*_WEIGHT_SUFFIXES, *_PICKLE_SUFFIXES))]
    found = f"found {_some(others)}" if others else "found no weights at all"
    return ConversionRefused(
        Reason.NO_WEIGHTS,
        f"{directory.name} has no {_SAFE}: {found}",
        hint=f"copy {_SAFE} (or its shards with {_SAFE}.index.json) into the directory",
    )


def _some(names: list[str]) -> str:
    return ", ".join(str(name)[:100] for name in names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")
