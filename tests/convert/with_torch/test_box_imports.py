"""What serves models never imports what converts them, even where both are installed."""

import subprocess
import sys

import pytest

HEAVY = "{'torch', 'transformers', 'optimum', 'safetensors', 'tokenizers', 'onnx', 'sklearn', 'skl2onnx', 'joblib'}"
IMPORT_THE_BOX = f"""
import importlib, pkgutil, sys
import appliance
for module in pkgutil.walk_packages(appliance.__path__, "appliance."):
    if not module.name.startswith("appliance.convert."):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if error.name != "appliance_native":  # compiled apart, and not here
                raise
loaded = {HEAVY} & set(sys.modules)
sys.exit(f"imported: {{sorted(loaded)}}" if loaded else 0)
"""


def python(code, *arguments):
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


def test_no_module_of_the_box_imports_a_library_of_the_converter():
    result = python(IMPORT_THE_BOX)

    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("command", ["convert", "serve", "models"])
def test_help_is_given_without_them(command):
    show_help = f"""
import sys
from appliance.cli.main import main
sys.argv = ["appliance", "{command}", "--help"]
try:
    main()
except SystemExit:
    pass
sys.exit(", ".join({HEAVY} & set(sys.modules)) or None)
"""

    result = python(show_help)

    assert result.returncode == 0, result.stderr
    assert "Usage: appliance" in result.stdout
