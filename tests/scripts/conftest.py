"""The program that the scripts call."""

from pathlib import Path

import pytest

from tests.scripts.answering_program import AnsweringProgram


@pytest.fixture
def program(tmp_path: Path) -> AnsweringProgram:
    return AnsweringProgram(tmp_path / "bin")
