import os

import pytest

from appliance.cli.root_files import foreign, give_to_service

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
