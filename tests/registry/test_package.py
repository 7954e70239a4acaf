"""Reading a package directory: what is accepted as it is, and every refusal with its file."""

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.errors import InvalidInput
from appliance.registry import package_files
from appliance.registry.package import Package, read_models_directory, read_package
from tests.registry.packages import ONE, TWO, usual_files, write_package


def refusal(directory: Path) -> str:
    with pytest.raises(InvalidInput) as caught:
        read_package(directory)
    return str(caught.value)


def test_a_package_has_its_directorys_name_its_versions_and_its_licence(digits: Path) -> None:
    write_package(digits, {"2/model.onnx": b"newer"})

    package = read_package(digits)

    assert package.name == "digits"
    assert list(package.versions) == [1, 2]
    assert package.licence == "Apache-2.0"
    assert package.provenance == {"name": "digits", "licence": "MIT"}
    assert package.config.output[0].label_filename == "labels.txt"


def test_a_versions_files_are_its_own_and_the_shared_ones(digits: Path) -> None:
    write_package(digits, {"2/model.onnx": b"newer"})

    versions = read_package(digits).versions

    shared = {"golden/zero.npy", "labels.txt", "model.toml", "provenance.json"}
    assert set(versions[TWO].files) == shared | {"2/model.onnx"}
    assert set(versions[ONE].files) == shared | {"1/model.onnx", "1/model.onnx.data"}
    assert versions[TWO].model_file == "2/model.onnx"
    assert versions[TWO].size_bytes == sum(file.size_bytes for file in versions[TWO].files.values())


def test_a_model_of_a_triton_repository_is_a_package_as_it_is(tmp_path: Path) -> None:
    config = 'name: "densenet"\nplatform: "onnxruntime_onnx"\nmax_batch_size: 8\n'
    write_package(tmp_path / "densenet", {"config.pbtxt": config, "1/model.onnx": b"x", "3/model.onnx": b"y"})

    package = read_package(tmp_path / "densenet")

    assert package.config_file == "config.pbtxt"
    assert package.config.max_batch_size == 8
    assert list(package.versions) == [1, 3]
    assert package.licence == "unknown"


def test_a_model_may_be_a_directory_of_that_name_as_in_triton(tmp_path: Path) -> None:
    write_package(tmp_path / "big", {"1/model.onnx/model.onnx": b"x", "1/model.onnx/weights.bin": b"y"})

    assert read_package(tmp_path / "big").versions[ONE].model_file == "1/model.onnx/model.onnx"


def test_without_a_configuration_all_is_left_to_the_model_file(tmp_path: Path) -> None:
    write_package(tmp_path / "bare", {"1/model.onnx": b"x"})

    package = read_package(tmp_path / "bare")

    assert (package.config_file, package.config_text) == ("", "")
    assert package.config.max_batch_size is None


def test_the_configuration_may_name_another_model_file(tmp_path: Path) -> None:
    write_package(tmp_path / "m", {"model.toml": 'default_model_filename = "net.onnx"', "1/net.onnx": b"x"})

    assert read_package(tmp_path / "m").versions[ONE].model_file == "1/net.onnx"


def test_hidden_files_are_no_part_of_a_package(digits: Path) -> None:
    write_package(digits, {".DS_Store": b"x", "1/._model.onnx": b"x", ".git/config": b"x"})
    (digits / ".link").symlink_to("/etc/passwd")

    assert set(read_package(digits).versions[ONE].files) == set(usual_files())


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"model.toml": 'licence = "MIT"', "provenance.json": '{"licence": "GPL-3.0"}'}, "MIT"),
        ({"provenance.json": '{"licence": "GPL-3.0"}'}, "GPL-3.0"),
        ({"provenance.json": '{"license": "GPL-2.0"}'}, "GPL-2.0"),
        ({"card.md": '---\nlanguage: en\nlicense: "apache-2.0"\n---\n# Card\n'}, "apache-2.0"),
        ({"card.md": "# Card\nlicense: mit\n"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_the_licence_is_taken_from_the_first_that_states_one(
    tmp_path: Path, files: dict[str, str], licence: str
) -> None:
    write_package(tmp_path / "m", {"1/model.onnx": b"x", **files})

    assert read_package(tmp_path / "m").licence == licence


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"readme.md": "hello"}, "has neither model.toml or config.pbtxt nor a version"),
        ({"model.toml": ""}, "has no version directory"),
        ({"model.toml": "", "config.pbtxt": "", "1/model.onnx": "x"}, "has both model.toml and config.pbtxt"),
        ({"1/model.plan": "x"}, "1 has no model.onnx, found model.plan"),
        ({"0/model.onnx": "x"}, "invalid model version '0'"),
        ({"01/model.onnx": "x"}, "invalid model version '01'"),
        ({"9223372036854775808/model.onnx": "x"}, "invalid model version"),
        ({"model.toml": 'name = "other"', "1/model.onnx": "x"}, "name is 'other', expected 'm'"),
        ({"config.pbtxt": 'name: "other"', "1/model.onnx": "x"}, "name is 'other', expected 'm'"),
        ({"model.toml": "max_batch_size = -1", "1/model.onnx": "x"}, "model.toml: max_batch_size"),
        ({"model.toml": "= 1", "1/model.onnx": "x"}, "model.toml: not valid TOML"),
        ({"model.toml": b"\xff\xfe", "1/model.onnx": "x"}, "model.toml is not UTF-8 text (byte 0)"),
        ({"model.toml": 'default_model_filename = "../x"', "1/model.onnx": "x"}, "'../x' is not a file name"),
        (
            {"model.toml": '[[output]]\nname = "y"\nlabel_filename = "l.txt"', "1/model.onnx": "x"},
            "label file 'l.txt' of output 'y' is missing",
        ),
        ({"provenance.json": "{", "1/model.onnx": "x"}, "provenance.json is not valid JSON"),
        ({"provenance.json": "[" * 100_000, "1/model.onnx": "x"}, "provenance.json is not valid JSON"),
        ({"provenance.json": "[]", "1/model.onnx": "x"}, "provenance.json holds a JSON list, expected an object"),
        ({"model.toml": " " * (4 * 1024 * 1024 + 1), "1/model.onnx": "x"}, "model.toml is larger than 4194304 bytes"),
        ({"1/model.onnx": "x", "a\nb": "x"}, r"invalid path in a package: 'a\nb'"),
        ({"1/model.onnx": "x", "1/\u202etxt.exe": "x"}, "invalid path in a package"),
        ({"1/model.onnx": "x", "/".join("d" * 40): "x"}, "more than 32 directories deep"),
    ],
)
def test_what_is_not_a_package_is_refused_with_the_reason(
    tmp_path: Path, files: dict[str, str | bytes], words: str
) -> None:
    write_package(tmp_path / "m", files)

    assert words in refusal(tmp_path / "m")


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    write_package(tmp_path / "m", {"1/model.onnx": "x"})
    Path(os.fsdecode(os.fsencode(tmp_path / "m") + b"/\xff\xfe")).write_bytes(b"x")

    assert "invalid path in a package" in refusal(tmp_path / "m")
    refusal(tmp_path / "m").encode()  # can be shown


def make_link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def make_directory_link(path: Path) -> None:
    path.symlink_to("/etc", target_is_directory=True)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path must be short
        try:
            server.bind(path.name)
        finally:
            os.chdir(here)


def make_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("making a device node is not permitted")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_link, "is a symbolic link"),
        (make_directory_link, "is a symbolic link"),
        (os.mkfifo, "is not a regular file"),
        (make_socket, "is not a regular file"),
        (make_device, "is not a regular file"),
    ],
)
@pytest.mark.parametrize("place", ["extra", "1/extra", "golden/extra"])
def test_only_regular_files_are_let_in(digits: Path, place: str, make: Callable[[Path], None], words: str) -> None:
    make(digits / place)

    found = refusal(digits)

    assert words in found
    assert str(digits / place) in found


def test_a_package_reached_through_a_link_is_refused_with_its_real_place(digits: Path) -> None:
    (digits.parent / "link").symlink_to(digits)

    assert f"name the directory itself: {digits}" in refusal(digits.parent / "link")


def test_the_current_directory_has_a_name_too(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(digits)

    assert read_package(Path()).name == "digits"


def test_a_file_nobody_may_read_is_refused(digits: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (digits / "labels.txt").chmod(0)

    assert "labels.txt cannot be read: Permission denied" in refusal(digits)


def test_a_missing_directory_and_a_file_are_no_packages(digits: Path) -> None:
    assert "is not a directory" in refusal(digits / "nothing")
    assert "is not a directory" in refusal(digits / "model.toml")


def test_an_impossible_name_is_refused(tmp_path: Path) -> None:
    write_package(tmp_path / "my model")

    assert "invalid model name 'my model'" in refusal(tmp_path / "my model")


def test_too_many_files_are_no_package(digits: Path) -> None:
    for number in range(package_files.MOST_ENTRIES):
        (digits / "golden" / str(number)).touch()

    assert "more than 10000 files and directories" in refusal(digits)


def test_a_fifo_that_takes_a_files_place_does_not_hang_the_reader(digits: Path) -> None:
    os.mkfifo(digits / "fifo")

    with pytest.raises(InvalidInput, match="is not a regular file"):
        package_files.open_package_file(digits / "fifo")


def test_one_broken_package_does_not_hide_the_others(tmp_path: Path) -> None:
    write_package(tmp_path / "digits")
    write_package(tmp_path / "broken", {"1/model.plan": b"x"})
    write_package(tmp_path / ".hidden", {"1/model.onnx": b"x"})
    (tmp_path / "README.md").write_text("no model")
    (tmp_path / "link").symlink_to(tmp_path / "digits")

    found = read_models_directory(tmp_path)

    assert isinstance(found["digits"], Package)
    assert "has no model.onnx" in str(found["broken"])
    assert "is a symbolic link" in str(found["link"])
    assert set(found) == {"digits", "broken", "link"}


def test_a_models_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="No such file or directory"):
        read_models_directory(tmp_path / "nothing")
