"""Words from elsewhere in a package's files: TOML, labels, and the preparation in sentences."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.convert.package.label_file import label_file
from appliance.convert.package.processing_words import processing_words
from appliance.convert.package.toml_text import inline_table, quoted
from appliance.convert.refusal import ConversionRefused, Reason


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_reads_back_from_toml_and_stays_on_its_line(key: str, value: str) -> None:
    text = f"{quoted(key)} = {quoted(value)}\n[table]\ninline = {inline_table({key: value})}\n"

    assert tomllib.loads(text)["table"] == {"inline": {key: value}}
    assert text.splitlines()[0] == f"{quoted(key)} = {quoted(value)}"


def test_half_a_surrogate_pair_can_still_be_written() -> None:
    assert quoted("a\udcffb").encode() == b'"a?b"'


@given(st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]))))
def test_labels_read_back_in_the_order_of_the_classes(labels: list[str]) -> None:
    assert label_file(labels).decode().splitlines() == labels


@pytest.mark.parametrize("char", "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029\x00\x1b\ud800")
def test_a_label_that_would_break_the_file_is_refused_with_its_number(char: str) -> None:
    with pytest.raises(ConversionRefused, match="the label of class 2 is 'a") as refused:
        label_file(["one", "two", f"a{char}b"])

    assert refused.value.reason is Reason.NO_CONFIG


def test_preparing_a_picture_is_said_in_words_and_numbers() -> None:
    found = processing_words(
        {
            "image": {
                "do_resize": True,
                "size": {"shortest_edge": 256},
                "resample": 3,
                "do_center_crop": True,
                "crop_size": {"height": 224, "width": 224},
                "do_rescale": True,
                "rescale_factor": 1 / 255,
                "do_normalize": True,
                "image_mean": [0.485, 0.456, 0.406],
                "image_std": [0.229, 0.224, 0.225],
                "do_pad": False,
            },
            "output": {"rule": "softmax over\nthe last axis"},
        }
    )

    assert found == [
        (
            "* **Pictures**: resize to shortest edge 256 (bicubic); cut out the middle, height 224, width 224; "
            "multiply by 0.00392157; subtract [0.485, 0.456, 0.406], divide by [0.229, 0.224, 0.225]; do pad no"
        ),
        "* **Outputs**: rule softmax over the last axis",
    ]


def test_a_step_that_is_switched_off_is_not_said() -> None:
    assert processing_words({"image": {"do_resize": False, "size": {"height": 3}}}) == ["* **Pictures**: as it is"]
