"""Compiled code on the box names no host and no collector that nobody has looked at."""

import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import metadata
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.egress.binary_scan import ELF, Finding, compiled_files, packages_of, scan

ALLOW_LIST = Path(__file__).with_name("allowed_hosts.toml")


@dataclass(frozen=True, slots=True)
class Allowed:
    """One entry of the allow-list; `hosts` and `file` are shell patterns."""

    package: str
    hosts: list[str]
    reason: str
    file: str = "*"

    def covers(self, finding: Finding) -> bool:
        return (
            finding.package == self.package
            and fnmatchcase(finding.file, self.file)
            and any(fnmatchcase(finding.text, host) for host in self.hosts)
        )


@pytest.fixture(scope="module")
def allow_list() -> list[Allowed]:
    return [Allowed(**entry) for entry in tomllib.loads(ALLOW_LIST.read_text())["allowed"]]


@pytest.fixture(scope="module")
def box_packages() -> set[str]:
    try:
        return packages_of("appliance", "cpu")
    except metadata.PackageNotFoundError as missing:
        pytest.fail(f"{missing.name} is not installed; install the box's packages with: pip install -e '.[dev]'")


def test_the_box_carries_no_tool_of_the_workstation(box_packages):
    workstation = {"torch", "transformers", "optimum", "onnx", "scikit-learn", "skl2onnx", "huggingface-hub", "pip"}
    # urllib3 comes along with python-tuf and is never loaded: test_imports.
    clients = {"requests", "httpx", "aiohttp", "tritonclient", "opentelemetry-sdk", "grpcio-observability"}

    assert {"grpcio", "numpy", "onnxruntime"} <= box_packages
    assert box_packages.isdisjoint(workstation | clients)


def installed(packages: set[str]) -> set[str]:
    """Return those of them that are."""
    return packages & {canonicalize_name(each.name) for each in metadata.distributions()}


@pytest.mark.slow
def test_compiled_code_names_only_hosts_that_somebody_has_looked_at(box_packages, allow_list):
    findings = [
        Finding(package, path.name, text)
        for package in box_packages | installed({"appliance-native"})
        for path in compiled_files(package)
        for text in scan(path)
    ]

    new = sorted(finding for finding in findings if not any(entry.covers(finding) for entry in allow_list))
    assert {"grpcio", "numpy", "onnxruntime"} <= {finding.package for finding in findings}, "nothing was searched"
    assert not new, "\n".join(
        [
            f"{len(new)} hosts or telemetry words that nobody has looked at, in compiled code of the box.",
            f"Find out what each is for; if it is harmless, say why in {ALLOW_LIST.name}; if anything contacts it,",
            "pin the package below this version in pyproject.toml:",
            *(f"  {finding.package} {finding.file}: {finding.text}" for finding in new),
        ]
    )


def test_every_allowance_has_a_reason(allow_list):
    assert all(len(entry.reason.split()) >= 3 for entry in allow_list)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"https://mobile.events.data.microsoft.com/OneCollector/1.0/", "mobile.events.data.microsoft.com"),
        (b"metadata.google.internal.", "metadata.google.internal"),
        (b"stats.example.io:4318", "stats.example.io"),
        (b"169.254.169.254", "169.254.169.254"),
        (b"/OneCollector/1.0/", "/OneCollector/1.0/"),
        (b"SendTelemetryNow", "SendTelemetryNow"),
    ],
)
def test_a_collector_is_found_and_not_covered(tmp_path, allow_list, content, text):
    library = tmp_path / "libonnxruntime.so"
    library.write_bytes(ELF + bytes(100) + content + bytes(100))

    assert text in scan(library)
    assert not any(entry.covers(Finding("onnxruntime", library.name, text)) for entry in allow_list)
