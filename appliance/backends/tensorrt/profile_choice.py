"""Which optimisation profile of an engine computes a request. Pure."""

import math
from collections.abc import Mapping, Sequence

from appliance.backends.tensorrt.engine_layout import EngineProfile, Shape
from appliance.errors import InvalidInput
from appliance.model.engine import ShapeRange
from appliance.model.tensor import element_count, format_shape

_HINT = "to allow more, widen max_batch_size or the trt_profile shapes in model.toml and activate the model again"


def choose_profile(profiles: Sequence[EngineProfile], shapes: Mapping[str, Shape]) -> int:
    """Return the index of the profile that takes these input shapes, the one whose usual sizes are nearest.

    Raises InvalidInput with the allowed ranges if none does.
    """
    fitting = [index for index, profile in enumerate(profiles) if _takes_all(profile, shapes)]
    if not fitting:
        raise _outside(profiles, shapes)
    return min(fitting, key=lambda index: (_distance(profiles[index], shapes), _largest(profiles[index]), index))


def check_values(profile: EngineProfile, values: Mapping[str, Sequence[int]]) -> None:
    """Check inputs whose values are shapes. Raises InvalidInput with the allowed range."""
    for name, allowed in profile.values.items():
        found = tuple(int(value) for value in values[name])
        if not _takes(allowed, found):
            raise InvalidInput(
                f"input '{name}': got values {list(found)}, this engine takes {_range(allowed)}", hint=_HINT
            )


def _takes_all(profile: EngineProfile, shapes: Mapping[str, Shape]) -> bool:
    return all(_takes(profile.shapes[name], shape) for name, shape in shapes.items())


def _takes(allowed: ShapeRange, shape: Sequence[int]) -> bool:
    return len(shape) == len(allowed.min) and all(
        low <= size <= high for low, size, high in zip(allowed.min, shape, allowed.max, strict=True)
    )


def _distance(profile: EngineProfile, shapes: Mapping[str, Shape]) -> float:
    """How many times larger or smaller than usual, in doublings, over all inputs."""
    return sum(
        abs(math.log2(max(element_count(shape), 1) / max(element_count(profile.shapes[name].opt), 1)))
        for name, shape in shapes.items()
    )


def _largest(profile: EngineProfile) -> int:
    return sum(element_count(allowed.max) for allowed in profile.shapes.values())


def _outside(profiles: Sequence[EngineProfile], shapes: Mapping[str, Shape]) -> InvalidInput:
    for name, shape in shapes.items():
        ranges = [profile.shapes[name] for profile in profiles]
        if not any(_takes(allowed, shape) for allowed in ranges):
            choices = " or ".join(dict.fromkeys(_range(allowed) for allowed in ranges))
            return InvalidInput(
                f"input '{name}': got shape {format_shape(shape)}, this engine takes {choices}", hint=_HINT
            )
    found = ", ".join(f"'{name}' {format_shape(shape)}" for name, shape in shapes.items())
    choices = "; or ".join(
        ", ".join(f"'{name}' {_range(allowed)}" for name, allowed in profile.shapes.items()) for profile in profiles
    )
    return InvalidInput(f"inputs {found} do not go together, this engine takes {choices}", hint=_HINT)


def _range(allowed: ShapeRange) -> str:
    if allowed.min == allowed.max:
        return format_shape(allowed.min)
    return f"{format_shape(allowed.min)} to {format_shape(allowed.max)}"
