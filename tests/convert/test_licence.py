"""Licences: SPDX expressions, and suggestions that are never taken without being typed."""

from pathlib import Path

import pytest

from appliance.convert.licence import check_licence, licence_of_source
from appliance.convert.refusal import ConversionRefused, Reason


def refusal(text: str, said_by_source: str = "") -> ConversionRefused:
    with pytest.raises(ConversionRefused) as refused:
        check_licence(text, said_by_source=said_by_source)
    assert refused.value.reason is Reason.NO_LICENCE
    return refused.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Apache-2.0", "Apache-2.0"),
        (" apache-2.0 ", "Apache-2.0"),
        ("cc-by-nc-4.0", "CC-BY-NC-4.0"),
        ("MIT OR Apache-2.0", "MIT OR Apache-2.0"),
        ("(mit AND (isc OR zlib)) OR bsd-3-clause", "(MIT AND (ISC OR Zlib)) OR BSD-3-Clause"),
        ("GPL-2.0-only WITH classpath-exception-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"),
        ("EPL-1.0+", "EPL-1.0+"),
        ("LicenseRef-gemma", "LicenseRef-gemma"),
        ("DocumentRef-a:LicenseRef-b", "DocumentRef-a:LicenseRef-b"),
        ("(" * 100 + "MIT" + ")" * 100, "(" * 100 + "MIT" + ")" * 100),
    ],
)
def test_an_expression_comes_back_in_the_spelling_of_the_list(text: str, expected: str) -> None:
    assert check_licence(text) == expected


@pytest.mark.parametrize("text", ["", "  \n"])
def test_no_licence_is_refused(text: str) -> None:
    assert "no licence given" in refusal(text).message


@pytest.mark.parametrize(
    "text",
    [
        "MIT MIT",
        "MIT AND",
        "OR MIT",
        "(MIT",
        "MIT)",
        "()",
        "AND",
        "MIT WITH MIT",
        "MIT OR LLVM-exception",
        "MIT WITH",
    ],
)
def test_an_expression_that_does_not_hang_together_is_refused(text: str) -> None:
    assert "is no licence expression" in refusal(text).message


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("apache", "--licence Apache-2.0 (or"),
        ("Apache2.0", "--licence Apache-2.0 (or"),
        ("GPL-3.0", "--licence GPL-3.0-only (or GPL-3.0-or-later)"),
        ("llama2", "--licence LicenseRef-llama2"),
        ("MIT or Apache-2.0", "--licence 'MIT OR (Apache-2.0 WITH LLVM-exception)'"),
    ],
)
def test_an_unknown_licence_is_refused_with_what_comes_closest(text: str, hint: str) -> None:
    refused = refusal(text)

    assert "is not a licence of the SPDX list" in refused.message
    assert hint in refused.hint


def test_a_licence_as_long_as_a_book_is_refused_quickly() -> None:
    assert "600000 characters long" in refusal("MIT OR" * 100_000).message


def test_what_the_source_says_is_offered_and_not_taken() -> None:
    refused = refusal("", "apache-2.0")

    assert "the source itself says 'apache-2.0'" in refused.hint
    assert refused.hint.endswith("--licence Apache-2.0")


def test_what_the_source_says_does_not_replace_what_was_typed() -> None:
    assert check_licence("MIT", said_by_source="apache-2.0") == "MIT"


@pytest.mark.parametrize(
    ("readme", "expected"),
    [
        ("---\nlanguage: en\nlicense: apache-2.0\ntags:\n- a\n---\n# Model", "apache-2.0"),
        ("---\r\nlicense: 'mit'\r\n---\r\n", "mit"),
        ("---\nlicence: other # see below\n---\n", "other"),
        ("# Model\nlicense: mit\n", ""),
        ("# Model\n---\nlicense: mit\n---\n", ""),
        ("---\ntags: a\n---\nlicense: mit\n", ""),
        ("---\nlicense:\n- mit\n---\n", ""),
        ("", ""),
    ],
)
def test_the_licence_of_a_source_stands_in_the_front_matter_of_its_readme(
    tmp_path: Path, readme: str, expected: str
) -> None:
    (tmp_path / "README.md").write_text(readme, newline="")

    assert licence_of_source(tmp_path) == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [('{"license": "mit"}', "mit"), ('{"license": ["mit"]}', ""), ("{}", ""), ("[]", ""), ("{", "")],
)
def test_the_licence_of_a_source_may_stand_in_its_configuration(tmp_path: Path, config: str, expected: str) -> None:
    (tmp_path / "config.json").write_text(config)

    assert licence_of_source(tmp_path) == expected


def test_a_source_that_says_nothing_of_its_licence_suggests_none(tmp_path: Path) -> None:
    assert licence_of_source(tmp_path) == ""
    assert licence_of_source(tmp_path / "model.onnx") == ""
