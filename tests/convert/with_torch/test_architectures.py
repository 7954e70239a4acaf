"""What converts: each architecture from a config, through conversion, comparison, and a daemon on a real channel.

The golden samples of a package hold PyTorch's own answers, so a self-test compares the served model with PyTorch.
"""

import json
import subprocess
from pathlib import Path

import pytest
import transformers as hf

from appliance.convert.refusal import Reason
from tests.convert.with_torch.commands import ROOT, convert, run
from tests.convert.with_torch.tiny_models import ARCHITECTURES, REFUSED, TEXT, Architecture, save
from tests.support.daemon import DaemonProcess

pytestmark = pytest.mark.slow
REASONS = (Reason.UNSUPPORTED_TASK, Reason.UNSUPPORTED_ARCHITECTURE, Reason.EXPORT_FAILED)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Where all that was converted ends, to be served together."""
    return tmp_path_factory.mktemp("packages")


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda each: each.name)
def test_it_converts_and_agrees_with_pytorch(architecture, tmp_path, packages):
    source = save(architecture, tmp_path / "source")
    model = folder_name(architecture)

    document = convert(source, tmp_path / model, "--licence", "MIT")

    assert document["model"]["task"] == architecture.task
    assert document["validation"]["within_tolerance"] is True
    for package in map(Path, document["packages"]):
        package.rename(packages / package.name)


def test_all_of_them_are_served_and_answer_as_pytorch_did(packages):
    with DaemonProcess(packages) as daemon:
        result = run("selftest", "--models", str(packages), "--address", daemon.address, "--json")

    findings = json.loads(result.stdout)
    assert [finding for finding in findings if not finding["ok"]] == []
    assert {finding["model"] for finding in findings} == {path.name for path in packages.iterdir()}
    assert result.returncode == 0


def test_engines_are_built_for_them_without_a_gpu_and_found_again(packages, tmp_path):
    one_size = {folder_name(each) for each in ARCHITECTURES if each.one_size}
    built = {}
    for name in sorted(path.name for path in packages.iterdir()):
        first = build_engine(name, packages, tmp_path / "state")
        if name in one_size:
            assert first.returncode == 1
            assert "refuses model.onnx: " in " ".join(first.stderr.split())
            continue
        assert first.returncode == 0, first.stderr
        again = json.loads(build_engine(name, packages, tmp_path / "state").stdout)
        built[name] = json.loads(first.stdout)
        assert (built[name]["cached"], again["cached"]) == (False, True)
        assert built[name]["digest"] == again["digest"]
    assert len(built) >= 16
    assert len({engine["key"] for engine in built.values()}) == len(built)


def test_what_tensorrt_takes_for_one_size_only_is_converted_so(tmp_path):
    architecture = next(each for each in ARCHITECTURES if each.one_size)
    source = save(architecture, tmp_path / "source")

    document = convert(source, tmp_path / "packages" / "m", "--licence", "MIT", "--target", "tensorrt")

    (variant,) = document["variants"]
    assert variant["chosen"] is True
    assert variant["parser"].startswith("accepted: ")
    (profile,) = document["graphs"][0]["profiles"].values()
    assert profile["min"][1:] == profile["max"][1:] == [3, 64, 64]
    assert 'execution = ["tensorrt", "cuda"]' in (tmp_path / "packages" / "m" / "model.toml").read_text()
    built = build_engine("m", tmp_path / "packages", tmp_path / "state")
    assert built.returncode == 0, built.stderr


def test_a_language_model_without_a_pooler_gives_its_features(tmp_path):
    masked = Architecture("BERT masked", "fill-mask", lambda: hf.BertForMaskedLM(hf.BertConfig(**TEXT)))
    source = save(masked, tmp_path / "source")

    document = convert(source, tmp_path / "model", "--licence", "MIT", "--task", "feature-extraction")

    assert document["validation"]["within_tolerance"] is True


@pytest.mark.parametrize("architecture", REFUSED, ids=lambda each: each.name)
def test_it_is_refused_with_a_reason_and_nothing_is_written(architecture, tmp_path):
    source = save(architecture, tmp_path / "source")

    result = run("convert", str(source), "--out", str(tmp_path / "model"), "--licence", "MIT")

    assert result.returncode in {reason.value for reason in REASONS}, result.stderr
    assert "next: " in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_the_readme_lists_exactly_these():
    assert table(ARCHITECTURES, REFUSED) in (ROOT / "README.md").read_text()


def table(converted: tuple[Architecture, ...], refused: tuple[Architecture, ...]) -> str:
    """The table in README."""
    rows = [
        f"| {each.name} | {each.task} | converts | {'for pictures of one size' if each.one_size else 'yes'} |"
        for each in converted
    ]
    rows += [f"| {each.name} | {each.task} | {each.note} | |" for each in refused]
    return "\n".join(
        ["| architecture | task | | TensorRT-RTX builds an engine |", "| --- | --- | --- | --- |", *rows]
    )


def build_engine(name: str, packages: Path, state: Path) -> "subprocess.CompletedProcess[str]":
    target = ("--compute-capability", "8.9", "--state", str(state), "--json")
    return run("engines", "build", name, "--models", str(packages), *target)


def folder_name(architecture: Architecture) -> str:
    return architecture.name.lower().replace(" ", "-")


if __name__ == "__main__":
    print(table(ARCHITECTURES, REFUSED))  # noqa: T201
