"""Which of the four kinds of source lies at a path, told by what is there and not by what is in it."""

import re
from enum import Enum
from pathlib import Path

from appliance.convert.refusal import ConversionRefused, Reason

_HUB_ID = re.compile(r"(?:https?://[\w.-]+/)?([\w-][\w.-]*(?:/[\w-][\w.-]*)?)/?(?:tree/[\w./-]+)?")
_SUPPORTED = "a Hugging Face directory with config.json, *.onnx, *.pt2, or a scikit-learn *.joblib or *.pkl"


class SourceKind(Enum):
    """The value is what people read."""

    HUGGING_FACE = "Hugging Face directory"
    ONNX = "ONNX file"
    TORCH_PROGRAM = "torch.export program"
    SCIKIT_LEARN = "scikit-learn model"


_KINDS = {
    ".onnx": SourceKind.ONNX,
    ".pt2": SourceKind.TORCH_PROGRAM,
    ".joblib": SourceKind.SCIKIT_LEARN,
    ".pkl": SourceKind.SCIKIT_LEARN,
    ".pickle": SourceKind.SCIKIT_LEARN,
}


def source_kind(text: str) -> SourceKind:
    """Say what lies at `text`. Raises ConversionRefused."""
    path = existing_source(text)
    if path.is_dir():
        return SourceKind.HUGGING_FACE  # without config.json it is one that lacks it, which its reader says best
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise ConversionRefused(
            Reason.UNSUPPORTED_ARCHITECTURE,
            f"{path.name} is not a kind of model that can be converted",
            hint=f"convert takes {_SUPPORTED}",
        )
    return kind


def existing_source(text: str) -> Path:
    """Return the absolute path of what `text` names. Raises ConversionRefused for the name of a model on a hub."""
    path = Path(text)
    if text and _exists(path):
        return path.resolve()
    hub_id = _HUB_ID.fullmatch(text)
    if hub_id is not None and path.suffix.lower() not in _KINDS:
        raise _on_a_hub(text, hub_id[1])
    raise ConversionRefused(
        Reason.NO_CONFIG,
        f"there is nothing at {text[:300]!r}",
        hint=f"convert takes {_SUPPORTED}",
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long, a directory that may not be entered
        return False


def _on_a_hub(text: str, hub_id: str) -> ConversionRefused:
    directory = hub_id.rpartition("/")[2]
    return ConversionRefused(
        Reason.HUB_ID,
        f"there is no directory {text!r} here, and models are never fetched from a hub",
        hint=f"where the network is: huggingface-cli download {hub_id} --local-dir {directory}; "
        f"then copy {directory} here: appliance convert ./{directory}",
    )
