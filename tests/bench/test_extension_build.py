"""How long the extension took to build: told only if it is known of the one that is installed."""

from pathlib import Path

import pytest
from benchmark.extension import Extension
from benchmark.extension_build import noted_build

OWN, SYSTEM = ("libc.so.6",), ("libc.so.6", "libgrpc.so.29")


def told(directory: Path, note: str, libraries: tuple[str, ...], place: str = "lib/appliance_native.so") -> str:
    """What is told of an extension in a virtual environment with such a note."""
    (directory / ".native-build").write_text(note)
    extension = Extension(directory / place, 1, False, "54.0.0", libraries)
    return noted_build(extension, directory / ".native-build")


@pytest.mark.parametrize(
    ("note", "libraries", "words"),
    [
        ("own 912 all\n", OWN, "912 s by scripts/build-native for gRPC's core and the extension"),
        ("own 31 rest\n", OWN, "31 s by scripts/build-native for the extension alone"),
        ("1.51.1 29 all\n", SYSTEM, "29 s by scripts/build-native for the extension alone"),
    ],
)
def test_a_note_tells_seconds_and_how_much_was_compiled(tmp_path, note, libraries, words):
    assert told(tmp_path, note, libraries).startswith(words)


def test_a_note_of_another_kind_of_core_is_not_about_this_extension(tmp_path):
    assert told(tmp_path, "own 912 all\n", SYSTEM) == ""


def test_an_extension_from_elsewhere_was_not_built_by_the_script(tmp_path):
    assert told(tmp_path, "own 912 all\n", OWN, "../elsewhere/appliance_native.so") == ""


def test_without_a_note_nothing_is_told(tmp_path):
    assert noted_build(Extension(tmp_path / "x.so", 1, False, "54.0.0", OWN), tmp_path / ".native-build") == ""
