"""Reading a source in tests: what it is, or why it is refused."""

from pathlib import Path

import pytest

from appliance.convert.refusal import ConversionRefused
from appliance.convert.sources.huggingface_source import HuggingFaceSource, read_huggingface_source
from appliance.convert.task import Task


def read(directory: Path, task: Task | None = None, *, allow_pickle: bool = False) -> HuggingFaceSource:
    return read_huggingface_source(str(directory), task, allow_pickle=allow_pickle)


def refusal(directory: Path, task: Task | None = None, *, allow_pickle: bool = False) -> ConversionRefused:
    with pytest.raises(ConversionRefused) as refused:
        read(directory, task, allow_pickle=allow_pickle)
    assert refused.value.hint
    return refused.value
