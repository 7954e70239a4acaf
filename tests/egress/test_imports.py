"""The box's rooms load no network client and nothing of the workstation, and telemetry is off before it can start."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("bundle", "model", "backends", "registry", "serving", "updates", "rpc", "daemon", "cli")
WORKSTATION = {
    "torch",
    "transformers",
    "optimum",
    "onnx",
    "skl2onnx",
    "sklearn",
    "huggingface_hub",
    "datasets",
    "pip",
}
CLIENTS = {
    "requests",
    "urllib3",
    "httpx",
    "httpcore",
    "aiohttp",
    "websockets",
    "tritonclient",
    "opentelemetry",
    "boto3",
}
STANDARD_CLIENTS = {"http", "urllib.request", "ftplib", "smtplib", "imaplib", "poplib", "xmlrpc", "webbrowser"}
FORBIDDEN = WORKSTATION | CLIENTS | STANDARD_CLIENTS

# Imports every module of the rooms, in the order given; prints who asked first for each module, and what the variable
# was when onnxruntime was asked for.
IMPORT_ALL = """
import importlib, json, os, pkgutil, sys

asked = {}

class Witness:
    def find_spec(self, name, path=None, target=None):
        frame = sys._getframe(1)
        while "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        asked.setdefault(name, (frame.f_code.co_filename, os.environ.get("ORT_DISABLE_TELEMETRY")))

sys.meta_path.insert(0, Witness())
imported = []
for room in sys.argv[1:]:
    package = importlib.import_module(f"appliance.{room}")
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
        imported.append(module.name)
print(json.dumps({"imported": imported, "asked": {name: asked[name] for name in asked if name in sys.modules}}))
"""


def in_a_fresh_interpreter(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module", params=[ROOMS, ROOMS[::-1]], ids=["downwards", "upwards"])
def loaded(request) -> dict:
    result = in_a_fresh_interpreter(IMPORT_ALL, *request.param)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.slow
def test_the_rooms_load_no_network_client_and_nothing_of_the_workstation(loaded):
    assert len(loaded["imported"]) > len(ROOMS), "nothing was imported"
    unwanted = [f"{name}, for {who}" for name, (who, _) in loaded["asked"].items() if is_forbidden(name)]
    assert not unwanted, "loaded in the box's process: " + "; ".join(sorted(unwanted))


@pytest.mark.slow
def test_telemetry_is_off_before_onnxruntime_is_imported(loaded):
    who, variable = loaded["asked"]["onnxruntime"]

    assert Path(who) == ROOT / "appliance" / "backends" / "onnxruntime.py"
    assert variable == "1"


@pytest.mark.slow
def test_the_backend_refuses_to_load_where_onnxruntime_came_first():
    result = in_a_fresh_interpreter("import onnxruntime; import appliance.backends.onnxruntime")

    assert result.returncode != 0
    assert "onnxruntime was imported before ORT_DISABLE_TELEMETRY=1 was set" in result.stderr


def test_no_module_of_ours_names_a_network_client():
    sources = [path for room in ROOMS for path in sorted((ROOT / "appliance" / room).rglob("*.py"))]

    named = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources
        for line, name in imports(ast.parse(path.read_text()))
        if is_forbidden(name)
    ]
    assert sources
    assert not named, "\n".join(named)


@pytest.mark.parametrize(
    "source",
    [
        "import urllib.request",
        "from urllib import request",
        "from urllib.request import urlopen",
        "import http.client as h",
        "def later():\n    import requests",
        "from huggingface_hub.utils import x",
    ],
)
def test_an_import_of_a_client_is_found(source):
    assert any(is_forbidden(name) for _, name in imports(ast.parse(source)))


@pytest.mark.parametrize("source", ["from urllib.parse import quote", "import onnxruntime", "from . import http"])
def test_an_import_of_something_else_is_not(source):
    assert not any(is_forbidden(name) for _, name in imports(ast.parse(source)))


def imports(tree: ast.AST) -> list[tuple[int, str]]:
    """Every module that an import statement may mean, wherever it stands; `from a import b` may mean a.b."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def is_forbidden(module: str) -> bool:
    parts = module.split(".")
    return any(".".join(parts[:length]) in FORBIDDEN for length in range(1, len(parts) + 1))
