"""Optimisation profiles: for which shapes an engine is built. Pure.

They are written as ONNX Runtime's TensorRT provider reads them: the parameters `trt_profile_min_shapes`,
`trt_profile_opt_shapes` and `trt_profile_max_shapes` hold "input:1x3x224x224,other:1x16"; a name that stands there
several times has several profiles. Without them an input of which only the batch axis is free gets one from
`max_batch_size`.
"""

from collections.abc import Mapping, Sequence

from appliance.errors import InvalidInput
from appliance.model.config import DEFAULT_MAX_BATCH_SIZE, ModelConfig
from appliance.model.engine import Profile, ShapeRange
from appliance.model.tensor import format_shape

_BOUNDS = ("min", "opt", "max")
_LARGEST_DIMENSION = 2**31 - 1
_MOST_DIGITS = 10
_USUAL_ROWS = 8  # what a batch mostly holds where nobody says
HINT = 'write into [parameters] for which shapes: trt_profile_{min,opt,max}_shapes = "input:1x3x224x224"'


def written_profiles(config: ModelConfig) -> tuple[Profile, ...]:
    """Read the three parameters; no profile if there are none. Raises InvalidInput naming the fault."""
    written = {bound: _shapes(f"trt_profile_{bound}_shapes", config) for bound in _BOUNDS}
    if not any(written.values()):
        return ()
    names = list(dict.fromkeys(name for shapes in written.values() for name in shapes))
    counts = {name: {bound: len(shapes.get(name, [])) for bound, shapes in written.items()} for name in names}
    for name, count in counts.items():
        if len(set(count.values())) != 1:
            found = ", ".join(f"{number} in {bound}" for bound, number in count.items())
            raise InvalidInput(f"trt_profile shapes of '{name}': found {found}, expected as many in each", hint=HINT)
    number_of_profiles = {count["min"] for count in counts.values()}
    if len(number_of_profiles) != 1:
        found = ", ".join(f"{count['min']} for '{name}'" for name, count in counts.items())
        raise InvalidInput(f"trt_profile shapes: found {found}, expected as many for each input", hint=HINT)
    return tuple(
        {name: _range(name, *(written[bound][name][place] for bound in _BOUNDS)) for name in names}
        for place in range(number_of_profiles.pop())
    )


def largest_batch(config: ModelConfig) -> int:
    """Rows that an engine must take where no profile is written: 0 for a model without a batch axis."""
    return DEFAULT_MAX_BATCH_SIZE if config.max_batch_size is None else config.max_batch_size


def complete_profiles(
    inputs: Mapping[str, Sequence[int]], written: Sequence[Profile], max_batch_size: int
) -> list[Profile]:
    """Check the written profiles against the network's inputs (name -> shape, -1 is free), and add what is missing.

    Raises InvalidInput naming the input, what was found and what was expected.
    """
    unknown = [name for profile in written for name in profile if name not in inputs]
    if unknown:
        raise InvalidInput(
            f"trt_profile shapes name input '{unknown[0]}', but the model has {sorted(inputs)}", hint=HINT
        )
    free = {name: tuple(shape) for name, shape in inputs.items() if -1 in shape}
    if not free:
        return []
    return [
        {name: _completed(name, shape, profile.get(name), max_batch_size) for name, shape in free.items()}
        for profile in (written or ({},))
    ]


def _completed(name: str, shape: Sequence[int], written: ShapeRange | None, max_batch_size: int) -> ShapeRange:
    if written is None:
        if max_batch_size == 0 or shape[0] != -1 or -1 in shape[1:]:
            raise InvalidInput(
                f"input '{name}' has shape {format_shape(shape)}: for which sizes shall the engine be built?",
                hint=HINT,
            )
        rows = (1, min(_USUAL_ROWS, max_batch_size), max_batch_size)
        return ShapeRange(*((count, *shape[1:]) for count in rows))
    for bound in (written.min, written.opt, written.max):
        fits = len(bound) == len(shape) and all(fixed in (-1, size) for fixed, size in zip(shape, bound, strict=True))
        if not fits:
            raise InvalidInput(
                f"trt_profile shapes of '{name}': found {format_shape(bound)}, the model has {format_shape(shape)}",
                hint=HINT,
            )
    return written


def _shapes(parameter: str, config: ModelConfig) -> dict[str, list[tuple[int, ...]]]:
    found: dict[str, list[tuple[int, ...]]] = {}
    for part in config.parameter(parameter).split(","):
        if not part.strip():
            continue
        name, _, sizes = part.strip().rpartition(":")
        digits = sizes.lower().split("x")
        if not name or not all(map(_is_dimension, digits)):
            raise InvalidInput(
                f"parameter {parameter}: found '{part.strip()[:80]}', expected name:1x3x224x224", hint=HINT
            )
        found.setdefault(name, []).append(tuple(map(int, digits)))
    return found


def _is_dimension(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and int(text) <= _LARGEST_DIMENSION


def _range(name: str, smallest: tuple[int, ...], usual: tuple[int, ...], largest: tuple[int, ...]) -> ShapeRange:
    ordered = len(smallest) == len(usual) == len(largest) and all(
        low <= middle <= high for low, middle, high in zip(smallest, usual, largest, strict=True)
    )
    if not ordered:
        raise InvalidInput(
            f"trt_profile shapes of '{name}': found min {format_shape(smallest)}, opt {format_shape(usual)}, "
            f"max {format_shape(largest)}, expected min <= opt <= max in every dimension",
            hint=HINT,
        )
    return ShapeRange(smallest, usual, largest)
