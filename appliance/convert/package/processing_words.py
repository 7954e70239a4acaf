"""What a client does before and after a model, in words and numbers, from the processors' own configuration."""

from collections.abc import Mapping, Sequence

_HEADINGS = {"image": "Pictures", "audio": "Sounds", "text": "Texts", "output": "Outputs"}
_RESAMPLING = ("nearest", "Lanczos", "bilinear", "bicubic", "box", "Hamming")  # Pillow's numbers
# Said in sentences; everything else stands as it is in processor/preprocessing.json.
_SWITCHES = frozenset(
    {"do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale", "rescale_factor", "do_normalize"}
    | {"image_mean", "image_std", "image_processor_type", "feature_extractor_type", "processor_class"}
)


def processing_words(preprocessing: Mapping[str, object]) -> list[str]:
    """Return one Markdown list item for each kind of input, and for the outputs."""
    return [
        f"* **{_HEADINGS.get(kind, kind)}**: {_sentence(kind, found)}"
        for kind, found in preprocessing.items()
        if found
    ]


def _sentence(kind: str, found: object) -> str:
    if not isinstance(found, Mapping):
        return _value(found)
    steps = _picture_steps(found) if kind == "image" else []
    rest = {name: value for name, value in found.items() if kind != "image" or name not in _SWITCHES}
    said = [*steps, *(f"{str(name).replace('_', ' ')} {_value(value)}" for name, value in rest.items())]
    return "; ".join(said) or "as it is"


def _picture_steps(found: Mapping[str, object]) -> list[str]:
    """In the order in which Hugging Face's processors work."""
    steps = []
    if found.get("do_resize"):
        steps.append(f"resize to {_value(found.get('size'))}{_resampling(found.get('resample'))}")
    if found.get("do_center_crop"):
        steps.append(f"cut out the middle, {_value(found.get('crop_size'))}")
    if found.get("do_rescale"):
        steps.append(f"multiply by {_value(found.get('rescale_factor'))}")
    if found.get("do_normalize"):
        steps.append(f"subtract {_value(found.get('image_mean'))}, divide by {_value(found.get('image_std'))}")
    return steps


def _resampling(value: object) -> str:
    return f" ({_RESAMPLING[value]})" if isinstance(value, int) and 0 <= value < len(_RESAMPLING) else ""


def _value(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case Mapping():
            return ", ".join(f"{str(name).replace('_', ' ')} {_value(item)}" for name, item in value.items())
        case Sequence() if not isinstance(value, str):
            return f"[{', '.join(map(_value, value))}]"
        case _:
            return " ".join(str(value).split())
