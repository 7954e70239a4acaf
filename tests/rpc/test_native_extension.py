"""The native transport's extension by itself, in processes without grpcio; the cases say what each shows."""

import subprocess
import sys

import pytest

from tests.rpc.native_tests import needs_extension
from tests.support.daemon import ROOT


@needs_extension
@pytest.mark.parametrize(
    "case",
    ["sent_buffers", "wake_ups", "deadlines", "failures", "bunches", "one_write", "late_answers", "late_bunch"],
)
def test_the_extension_alone(case):
    command = [sys.executable, "-m", "tests.rpc.native_cases", case]

    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert (result.returncode, result.stderr) == (0, "")
