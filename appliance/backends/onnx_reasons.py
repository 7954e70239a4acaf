"""ONNX Runtime's error texts, shortened to what a person can use: one line, no source paths, no C++ signatures."""

import re

_LARGEST_REASON = 300
_PREFIX = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
_LOAD = re.compile(r"Load model from \S+ failed:\s*|Exception during initialization:\s*|Exception caught:\s*")
_SOURCE = re.compile(r"/onnxruntime_src/\S+:\d+ (?:[^()]*\([^()]*\)(?: const)?(?: \[with [^\]]*\])? ?)?")
_DATA = re.compile(r"Got invalid dimensions for input|Invalid rank for input|Unexpected input data type")
_MEMORY = re.compile(
    r"Failed to allocate memory|bad_alloc|bad allocation|Unable to allocate|[Oo]ut of memory|"
    r"CUDNN_STATUS_ALLOC_FAILED|CUBLAS_STATUS_ALLOC_FAILED"
)


def short_reason(error: BaseException, directory: str = "") -> str:
    """Return the substance of an error on one line of at most 300 characters.

    `directory` is the model's: its path means nothing to the reader and is taken out.
    """
    text = str(error) or type(error).__name__
    if directory:
        text = text.replace(directory.rstrip("/") + "/", "")
    for noise in (_PREFIX, _LOAD, _SOURCE):
        text = noise.sub("", text)
    line = "".join(character if character.isprintable() else " " for character in text)
    line = " ".join(line.split())
    return line if len(line) <= _LARGEST_REASON else line[: _LARGEST_REASON - 3] + "..."


def is_lack_of_memory(error: BaseException | str) -> bool:
    """Say whether an error, or one that caused it, or the last words of a process, mean that memory ran out."""
    if isinstance(error, str):
        return _MEMORY.search(error) is not None
    cause = error.__cause__
    return (
        isinstance(error, MemoryError)
        or is_lack_of_memory(str(error))
        or (cause is not None and is_lack_of_memory(cause))
    )


def is_fault_of_data(error: BaseException) -> bool:
    """Say whether ONNX Runtime refused the data; with IOBinding it says so only in words."""
    return type(error).__name__ == "InvalidArgument" or _DATA.search(str(error)) is not None
