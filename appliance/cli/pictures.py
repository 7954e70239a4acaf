"""A picture as the tensor that an image model takes."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from appliance.errors import InvalidInput
from appliance.model.datatype import Datatype
from appliance.model.tensor import format_shape

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
_MODES = {1: "L", 3: "RGB"}
_EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_WHITE = 255
_HINT = "prepare the array yourself and pass it as .npy"


def read_picture(
    path: Path, shape: tuple[int, ...], datatype: Datatype, tell: Callable[[str], None], *, channels_last: bool
) -> npt.NDArray[Any]:
    """Read a picture as `shape` (without batch): [C,H,W], [H,W,C] or [H,W], C is 1 or 3; -1 keeps the picture's size.

    FP16, FP32 and FP64 hold 0 to 1, UINT8 the bytes themselves. Raises InvalidInput, OSError.
    """
    channel_axis, channels, height, width = _layout(shape, path, channels_last=channels_last)
    if datatype not in (Datatype.UINT8, Datatype.FP16, Datatype.FP32, Datatype.FP64):
        raise InvalidInput(f"{path}: a picture cannot become a tensor of {datatype.wire_name}", hint=_HINT)
    picture = _open(path).convert(_MODES[channels])
    size = (width if width > 0 else picture.width, height if height > 0 else picture.height)
    if picture.size != size:
        tell(f"{path}: resized from {picture.width}x{picture.height} to {size[0]}x{size[1]} pixels")
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(picture, dtype=np.uint8).reshape(size[1], size[0], channels)
    if datatype is not Datatype.UINT8:
        pixels = (pixels.astype(np.float64) / _WHITE).astype(datatype.numpy)
    return _arranged(pixels, channel_axis)


def _layout(shape: tuple[int, ...], path: Path, *, channels_last: bool) -> tuple[int | None, int, int, int]:
    """Return the axis of the channels (None: there is none), their number, height and width."""
    match shape:
        case (height, width):
            return None, 1, height, width
        case (height, width, (1 | 3) as channels) if channels_last or shape[0] not in _MODES:
            return 2, channels, height, width
        case ((1 | 3) as channels, height, width):
            return 0, channels, height, width
    raise InvalidInput(
        f"{path}: the model takes {format_shape(shape)}, expected [C,H,W] or [H,W,C] with 1 or 3 channels "
        "for a picture",
        hint=_HINT,
    )


def _open(path: Path) -> Image.Image:
    try:
        with (
            warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning),
            Image.open(path) as file,
        ):
            if file.mode not in _EIGHT_BIT_MODES:
                raise InvalidInput(f"{path} has pixels of kind {file.mode}, expected 8 bits a channel", hint=_HINT)
            return ImageOps.exif_transpose(file)  # upright, as the camera was held
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidInput(f"{path}: {error}", hint="make the picture smaller") from error
    except (ValueError, SyntaxError) as error:  # Pillow's words for damaged files
        raise InvalidInput(f"{path} is not a picture that can be read: {error}") from error


def _arranged(pixels: npt.NDArray[Any], channel_axis: int | None) -> npt.NDArray[Any]:
    if channel_axis is None:
        return pixels[:, :, 0]
    return np.ascontiguousarray(np.moveaxis(pixels, 2, channel_axis))
