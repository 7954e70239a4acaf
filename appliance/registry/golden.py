"""Golden samples of a model package: inputs, and the outputs that they gave when the model was made."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance.errors import InvalidInput
from appliance.registry.package_files import check_relative_path, open_package_file, read_package_text

Array = npt.NDArray[Any]

GOLDEN_FILE = "golden/golden.toml"


class GoldenSample(BaseModel):
    """One `[[sample]]`; files are relative to `golden/`. `answer`: the label that is right."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    inputs: dict[str, str]
    outputs: dict[str, str]
    answer: str = ""


class _GoldenFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    rtol: Annotated[float, Field(ge=0)] = 1e-5
    atol: Annotated[float, Field(ge=0)] = 1e-8
    sample: tuple[GoldenSample, ...]


@dataclass(frozen=True, slots=True)
class GoldenSamples:
    """The samples of one package, with the tolerance that its maker allows."""

    directory: Path
    rtol: float
    atol: float
    samples: tuple[GoldenSample, ...]

    def arrays(self, files: Mapping[str, str]) -> dict[str, Array]:
        """Read the arrays of one side of a sample. Raises InvalidInput."""
        return {name: _read_array(self.directory / check_relative_path(file)) for name, file in files.items()}

    def agrees(self, found: Array, expected: Array) -> bool:
        """Say whether an output is what it should be, within the tolerance (BYTES and integers: exactly)."""
        if found.shape != expected.shape:
            return False
        if expected.dtype.kind == "f":
            return bool(np.allclose(found, expected, rtol=self.rtol, atol=self.atol, equal_nan=True))
        if expected.dtype.kind in "SUO":
            return _texts(found) == _texts(expected)
        return bool(np.array_equal(found, expected))


def read_golden_samples(package: Path) -> GoldenSamples | None:
    """Read the golden samples of a package directory; None if it has none. Raises InvalidInput."""
    path = package / GOLDEN_FILE
    if not path.exists():
        return None
    try:
        document = _GoldenFile.model_validate(tomllib.loads(read_package_text(path)))
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{path} is not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidInput(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    return GoldenSamples(path.parent, document.rtol, document.atol, document.sample)


def _texts(array: Array) -> list[bytes]:
    return [text.encode() if isinstance(text, str) else bytes(text) for text in array.reshape(-1)]


def _read_array(path: Path) -> Array:
    with open_package_file(path) as stream:
        try:
            loaded = np.load(stream, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise InvalidInput(f"{path} is not an array that can be read: {error}") from error
    if not isinstance(loaded, np.ndarray):
        raise InvalidInput(f"{path} is a .npz archive, expected one array")
    return loaded
