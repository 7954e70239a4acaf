"""`appliance selftest`."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.cli.terminal import MODELS, WIDTH, Terminal


def test_every_golden_sample_is_answered_and_compared(serving: Terminal) -> None:
    result = serving.appliance("selftest", "--models", MODELS)

    assert result.out.count(" yes") == 8
    assert "003-3" in result.out
    assert result.widest <= WIDTH


def test_the_first_sample_of_each_model_is_enough_when_asked(serving: Terminal) -> None:
    findings = serving.appliance("selftest", "--models", MODELS, "--first", "--json").json

    assert [(finding["model"], finding["ok"]) for finding in findings] == [("breast-cancer", True), ("digits", True)]
    assert findings[1]["answer"].startswith(findings[1]["expected"])


def test_an_answer_outside_the_tolerance_fails(serving: Terminal, tmp_path: Path) -> None:
    package = shutil.copytree(MODELS / "digits", tmp_path / "digits")
    expected = np.load(package / "golden" / "1.output0.logits.npy")
    np.save(package / "golden" / "1.output0.logits.npy", expected + np.float32(0.01))

    result = serving.appliance("selftest", "--models", tmp_path, code=1)

    assert "logits: not within the tolerance" in " ".join(result.out.split())
    assert "1 of 4 golden samples went wrong" in result.story


def test_a_wrong_label_fails(serving: Terminal, tmp_path: Path) -> None:
    package = shutil.copytree(MODELS / "digits", tmp_path / "digits")
    golden = package / "golden" / "golden.toml"
    golden.write_text(golden.read_text().replace('answer = "0"', 'answer = "8"'))

    findings = serving.appliance("selftest", "--models", tmp_path, "--json", code=1).json

    assert [finding["sample"] for finding in findings if not finding["ok"]] == ["000-0"]


def test_a_model_that_should_be_served_and_is_not_fails(serving: Terminal) -> None:
    result = serving.appliance("selftest", "--models", serving.models, code=1)

    assert "UNAVAILABLE" in result.out
    assert "1 of 9 golden samples went wrong" in result.story


@pytest.mark.slow
def test_samples_come_from_the_registry(terminal: Terminal) -> None:
    terminal.appliance("models", "add", MODELS / "digits")
    terminal.appliance("models", "activate", "digits", "1")
    with terminal.daemon():
        findings = terminal.appliance("selftest", "--json").json

    assert [finding["ok"] for finding in findings] == [True] * 4


def test_nothing_tried_is_not_a_success(serving: Terminal, tmp_path: Path) -> None:
    result = serving.appliance("selftest", "--models", tmp_path, code=1)

    assert "nothing was tried" in result.story


def test_samples_that_leave_the_package_are_not_read(serving: Terminal, tmp_path: Path) -> None:
    package = shutil.copytree(MODELS / "digits", tmp_path / "digits")
    golden = package / "golden" / "golden.toml"
    golden.write_text(golden.read_text().replace("1.input0.pixel_values.npy", "../../secret.npy"))

    findings = serving.appliance("selftest", "--models", tmp_path, "--first", "--json", code=1).json

    assert "invalid path in a package" in findings[0]["problem"]


def test_without_a_daemon_it_ends_with_three(terminal: Terminal) -> None:
    terminal.appliance("selftest", "--address", f"unix:{terminal.state}/none.sock", code=3)
