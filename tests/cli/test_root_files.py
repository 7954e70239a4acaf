import contextlib
import os
import subprocess
import threading
from pathlib import Path

import pytest

from appliance.cli.root_files import foreign, give_to_service
from tests.cli.terminal import PROGRAM, ROOT, clean_environment

NOBODY = 65534


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of root")
def test_what_root_made_is_given_to_the_owner_of_the_state_directory(tmp_path):
    state = tmp_path / "state"
    (state / "blobs").mkdir(parents=True)
    (state / "blobs" / "content").write_text("x")
    (state / "dangling").symlink_to("/nowhere")
    outside = tmp_path / "outside"
    outside.write_text("x")
    (state / "link").symlink_to(outside)
    os.chown(state, NOBODY, NOBODY)

    give_to_service((state, tmp_path / "not-there"))
    assert list(foreign(state, NOBODY)) == []
    assert outside.stat().st_uid == 0


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of root")
def test_a_state_directory_of_root_is_left_as_it_is(tmp_path):
    (tmp_path / "file").write_text("x")
    give_to_service((tmp_path,))

    assert (tmp_path / "file").stat().st_uid == 0


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of root")
def test_a_directory_that_becomes_a_link_meanwhile_gives_nothing_outside_away(tmp_path):
    state, outside = tmp_path / "state", tmp_path / "outside"
    names = [f"{number}.onnx" for number in range(300)]
    for directory in (state / "models", outside):
        directory.mkdir(parents=True)
        for name in names:
            (directory / name).write_text("of root")
    os.chown(state, NOBODY, NOBODY)
    end = threading.Event()
    given_away: set[str] = set()

    def swap() -> None:  # as the service's user can, in its own directory
        while not end.is_set():
            (state / "models").rename(state / "aside")
            (state / "models").symlink_to(outside)
            end.wait(0.0005)
            (state / "models").unlink()
            (state / "aside").rename(state / "models")
            end.wait(0.0005)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for _ in range(100):
            give_to_service((state,))
            given_away.update(path.name for path in outside.iterdir() if path.stat().st_uid != 0)
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    os.chown(state / "models" / name, 0, 0)
    finally:
        end.set()
        swapping.join()

    assert given_away == set()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_read_only_state_is_told_and_hides_nothing_of_how_the_command_ended(small_disk):
    (small_disk / "of-root").write_text("x")
    os.chown(small_disk, NOBODY, NOBODY)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)

    (problem,) = give_to_service((small_disk,))
    assert "Read-only file system" in problem
    told = with_state(small_disk, "models", "show", "nonesuch")
    assert told.returncode == 1
    assert "error: there is no registry" in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of root")
def test_another_state_directory_that_the_settings_name_is_the_services_too(tmp_path):
    state = tmp_path / "elsewhere"
    state.mkdir()
    os.chown(state, NOBODY, NOBODY)
    (state / "of-root").write_text("x")

    assert with_state(state, "--version").returncode == 0
    assert (state / "of-root").stat().st_uid == NOBODY


def with_state(state: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a command where the settings name this state directory."""
    environment = clean_environment() | {"APPLIANCE_STATE_DIRECTORY": str(state)}
    return subprocess.run([*PROGRAM, *words], env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
