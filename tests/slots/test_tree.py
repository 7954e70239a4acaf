import os
import subprocess

import pytest

from appliance.errors import InvalidInput
from appliance.slots.tree import (
    FILE_LIST,
    Software,
    check_tree,
    parse_file_list,
    read_software,
    tree_digest,
    write_file_list,
)
from tests.slots.trees import make_tree


def test_a_tree_is_whole_and_a_person_can_check_it_with_sha256sum(tmp_path):
    digest = make_tree(tmp_path / "tree")

    assert tree_digest(tmp_path / "tree") == digest
    assert check_tree(tmp_path / "tree", digest) == ""
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", FILE_LIST], cwd=tmp_path / "tree", check=True)


def test_every_change_of_a_tree_is_found_and_named(tmp_path):
    tree = tmp_path / "tree"
    digest = make_tree(tree)
    main = tree / "site/appliance/cli/main.py"
    whole = main.read_bytes()

    main.write_bytes(whole[:-1] + b"#")
    assert "main.py has changed" in check_tree(tree, digest)
    main.unlink()
    assert "main.py cannot be read" in check_tree(tree, digest)
    main.write_bytes(whole)
    (tree / "site/sitecustomize.py").write_text("")
    assert "sitecustomize.py does not belong there" in check_tree(tree, digest)
    (tree / "site/sitecustomize.py").unlink()
    (tree / "site/link.py").symlink_to("/etc/passwd")
    assert "neither a file nor a directory" in check_tree(tree, digest)
    (tree / "site/link.py").unlink()
    os.mkfifo(tree / "site/pipe")
    assert "neither a file nor a directory" in check_tree(tree, digest)
    (tree / "site/pipe").unlink()
    assert check_tree(tree, digest) == ""
    (tree / FILE_LIST).write_text("")
    assert "expected" in check_tree(tree, digest)


@pytest.mark.parametrize(
    "path", ["../x", "site/../../x", "/etc/passwd", "site//x", "site/./x", "etc/x", "site\\x", "FILES.sha256"]
)
def test_a_list_that_leaves_the_tree_is_refused(path):
    with pytest.raises(InvalidInput, match="line 1"):
        parse_file_list(f"{'0' * 64}  {path}\n".encode())


def test_a_list_names_each_file_once():
    with pytest.raises(InvalidInput, match="line 2"):
        parse_file_list(f"{'0' * 64}  site/x\n{'0' * 64}  site/x\n".encode())


def test_a_tree_says_what_it_is(tmp_path):
    make_tree(tmp_path / "tree", "1.2.3", data_epoch=4)

    assert read_software(tmp_path / "tree") == Software("1.2.3", "3.11", "x86_64", 4)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "JSONDecodeError"),
        ("[]", "AttributeError|TypeError"),
        ('{"schema": 2, "version": "1.0.0", "python": "3.11", "machine": "x86_64", "data_epoch": 1}', "schema"),
        ('{"schema": 1, "version": "1.0", "python": "3.11", "machine": "x86_64", "data_epoch": 1}', "version"),
        ('{"schema": 1, "version": "1.0.0", "python": "2.7", "machine": "x86_64", "data_epoch": 1}', "python"),
        ('{"schema": 1, "version": "1.0.0", "python": "3.11", "machine": "../x", "data_epoch": 1}', "machine"),
        (
            '{"schema": 1, "version": "1.0.0", "python": "3.11", "machine": "x86_64", "data_epoch": true}',
            "data_epoch",
        ),
        ('{"schema": 1, "version": "1.0.0", "python": "3.11", "machine": "x86_64"}', "TypeError"),
    ],
)
def test_a_description_that_is_not_understood_is_refused(text, found):
    with pytest.raises(InvalidInput, match=found):
        Software.parse(text.encode())


def test_the_same_files_have_the_same_name(tmp_path):
    one, two = make_tree(tmp_path / "one"), make_tree(tmp_path / "two")

    assert one == two
    assert write_file_list(tmp_path / "one") == one
