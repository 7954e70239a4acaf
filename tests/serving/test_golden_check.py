"""A version is READY only when it gives the golden answers of its package, on the device that it is on."""

import asyncio
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from appliance.model.lifecycle import ModelState

ROOT = Path(__file__).parents[2]


@pytest.fixture
def digits(models):
    shutil.copytree(ROOT / "models" / "digits", models.root / "digits")
    return models.root / "digits"


def state_of(models, name):
    async def run():
        async with models.manager() as manager:
            return next((entry.state, reason) for found, entry, reason in manager.table.rows() if found == name)

    return asyncio.run(run())


def change(file, edit):
    array = np.load(file)
    edit(array)
    np.save(file, array)


def test_a_package_whose_answers_are_right_is_served(models, digits):
    assert state_of(models, "digits") == (ModelState.READY, "")


def test_an_answer_out_of_tolerance_is_told_with_sample_output_and_numbers(models, digits):
    def edit(logits):
        logits[0, 3] += 0.5

    change(digits / "golden" / "2.output0.logits.npy", edit)

    state, reason = state_of(models, "digits")

    assert state is ModelState.UNAVAILABLE
    assert reason.startswith("golden sample '001-1': output 'logits', element 3: found ")
    assert ", expected " in reason
    assert re.search(r"within [0-9.]+(e-\d+)? \(", reason)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda folder: (folder / "1.output0.logits.npy").unlink(), "1.output0.logits.npy"),
        (lambda folder: (folder / "golden.toml").write_text("rtol = ["), "not valid TOML"),
        (
            lambda folder: np.save(folder / "1.input0.pixel_values.npy", np.zeros((1, 1, 32, 32))),
            "golden sample '000-0': 'pixel_values' is float64, the model has TYPE_FP32",
        ),
        (
            lambda folder: (folder / "golden.toml").write_text(
                (folder / "golden.toml").read_text().replace('"pixel_values"', '"image"')
            ),
            "golden sample '000-0' has inputs ['image'], expected ['pixel_values']",
        ),
    ],
)
def test_samples_that_do_not_fit_the_model_are_told(models, digits, edit, words):
    edit(digits / "golden")

    state, reason = state_of(models, "digits")

    assert state is ModelState.UNAVAILABLE
    assert words in reason
