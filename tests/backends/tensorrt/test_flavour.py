"""Which TensorRT is found, chosen and imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.backends.tensorrt.flavour import AUTO, TENSORRT, TENSORRT_RTX, choose_flavour, load_tensorrt
from appliance.errors import InvalidInput

ROOT = Path(__file__).parents[3]
ASK = """
from appliance.backends.tensorrt.flavour import choose_flavour, installed_flavours, load_tensorrt
from appliance.errors import ApplianceError
print([flavour.name for flavour in installed_flavours()])
try:
    print(load_tensorrt(choose_flavour({wanted!r})).__name__)
except ApplianceError as error:
    print(error)
"""


def ask(wanted, packages):
    """A process that finds these packages before all others."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (packages, ROOT)))}
    said = subprocess.run(
        [sys.executable, "-c", ASK.format(wanted=wanted)], env=environment, capture_output=True, text=True, check=True
    )
    return said.stdout.splitlines()


def test_what_is_installed_is_chosen_with_the_version_of_its_package():
    flavour = choose_flavour(TENSORRT_RTX)

    assert (flavour.name, flavour.module) == ("tensorrt-rtx", "tensorrt_rtx")
    assert load_tensorrt(flavour).__version__ == flavour.version
    assert flavour.title == f"TensorRT-RTX {flavour.version}"


def test_an_unknown_one_is_refused():
    with pytest.raises(InvalidInput, match="expected one of auto, tensorrt, tensorrt-rtx"):
        choose_flavour("tensorrt-lean")


def test_the_full_one_goes_first_where_both_are_there(tmp_path):
    (tmp_path / "tensorrt").mkdir()
    (tmp_path / "tensorrt" / "__init__.py").write_text("")

    assert ask(AUTO, tmp_path) == ["['tensorrt', 'tensorrt-rtx']", "tensorrt"]


def test_one_that_is_not_there_is_an_error_with_its_remedy(tmp_path):
    installed, refusal = ask(TENSORRT, tmp_path)

    assert installed == "['tensorrt-rtx']"
    assert refusal.startswith("TensorRT is not installed (pip install ")
    assert "--system-site-packages" in refusal


@pytest.mark.parametrize("fault", ["import no_such_library", "raise OSError('libnvinfer.so.10: cannot open')"])
def test_one_that_cannot_be_imported_is_an_error_with_the_reason(tmp_path, fault):
    (tmp_path / "tensorrt").mkdir()
    (tmp_path / "tensorrt" / "__init__.py").write_text(fault)

    refusal = ask(TENSORRT, tmp_path)[1]

    assert refusal.startswith("TensorRT cannot be loaded: ")
    assert "no_such_library" in refusal or "libnvinfer.so.10" in refusal
