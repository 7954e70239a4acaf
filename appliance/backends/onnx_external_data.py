"""Weights that an ONNX file keeps in other files: each must be a real file beside the model, and large enough.

ONNX Runtime closes path traversal itself since 1.24; this check does not rely on it, and also covers what ONNX
Runtime allows on purpose (its marks for raw memory addresses).
"""

import os
import stat
from pathlib import Path, PurePosixPath

from appliance.backends.onnx_pb.onnx_graph_pb2 import TensorProto
from appliance.errors import InvalidInput

_MEMORY_MARK = "MEM_ADDR_"  # */_ORT_MEM_ADDR_/* and its relatives: ONNX Runtime would read at a raw address
_HINT = "save it again with all weights in one file beside the model: onnx.save(..., save_as_external_data=True)"
_LARGEST_DIGITS = 19


class ExternalFiles:
    """Collects the external files of one model while its tensors go by."""

    def __init__(self, model_file: Path) -> None:
        self._file = model_file.name
        self._directory = model_file.parent
        self._sizes: dict[str, int] = {}  # location as written -> size_bytes

    @property
    def names(self) -> tuple[str, ...]:
        """Relative names, each once."""
        return tuple(dict.fromkeys(str(PurePosixPath(location)) for location in self._sizes))

    def check(self, tensor: TensorProto) -> None:
        """Check where a tensor keeps its values. Raises InvalidInput; the values themselves are not read."""
        if not tensor.external_data and tensor.data_location != TensorProto.EXTERNAL:
            return
        # Entries are checked even if the tensor does not say EXTERNAL: readers differ in what they look at first.
        entries = [(entry.key, entry.value) for entry in tensor.external_data]
        found = dict(entries)
        if len(found) != len(entries):
            raise InvalidInput(f"{self._name(tensor)} gives a part of its place twice, expected it once", hint=_HINT)
        location = found.get("location", "")
        size_bytes = self._size_of(tensor, location)
        offset, length = self._number(tensor, found, "offset"), self._number(tensor, found, "length")
        if offset + length > size_bytes:
            raise InvalidInput(
                f"{self._name(tensor)} ends at byte {offset + length} of {location}, which has {size_bytes} bytes",
                hint="copy the file again and compare its SHA-256",
            )

    def _size_of(self, tensor: TensorProto, location: str | bytes) -> int:
        if isinstance(location, bytes) or not location.isprintable() or "\\" in location:
            raise self._refusal(tensor, location, "expected a plain relative path")
        if location not in self._sizes:
            self._sizes[location] = self._measure(tensor, location)
        return self._sizes[location]

    def _measure(self, tensor: TensorProto, location: str) -> int:
        path = PurePosixPath(location)
        if _MEMORY_MARK in location:
            raise self._refusal(tensor, location, "a raw memory address, expected a file beside the model")
        if not path.parts:
            raise self._refusal(tensor, location, "expected a file beside the model")
        if path.is_absolute():
            raise self._refusal(tensor, location, "an absolute path, expected one relative to the model")
        if ".." in path.parts:
            raise self._refusal(tensor, location, "which leaves the directory of the model")
        return self._size_on_disk(tensor, path)

    def _size_on_disk(self, tensor: TensorProto, path: PurePosixPath) -> int:
        place = self._directory
        for part in path.parts:
            place /= part
            try:
                status = os.lstat(place)
            except OSError as error:
                reason = "which does not exist" if isinstance(error, FileNotFoundError) else str(error.strerror)
                raise self._refusal(tensor, str(path), reason) from error
            if stat.S_ISLNK(status.st_mode):
                raise self._refusal(tensor, str(path), "a symbolic link, expected a real file")
        if not stat.S_ISREG(status.st_mode):
            raise self._refusal(tensor, str(path), "which is not a regular file")
        return status.st_size

    def _number(self, tensor: TensorProto, found: dict[str, str], key: str) -> int:
        text = found.get(key, "0")
        if not (isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= _LARGEST_DIGITS):
            raise InvalidInput(
                f"{self._name(tensor)} has {key} {text[:40]!r} in its external data, expected a number of bytes",
                hint=_HINT,
            )
        return int(text)

    def _name(self, tensor: TensorProto) -> str:
        return f"{self._file}: tensor {tensor.name[:80]!r}"

    def _refusal(self, tensor: TensorProto, location: str | bytes, reason: str) -> InvalidInput:
        return InvalidInput(
            f"{self._name(tensor)} keeps its values in {location[:120]!r}: {reason}",
            hint=_HINT,
        )
