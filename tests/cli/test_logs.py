import os
from pathlib import Path

import pytest

from appliance.cli.logs import journalctl
from appliance.daemon.journal_files import may_read_journal, require_journal
from appliance.errors import Failed
from appliance.maintenance.support.journal import journal_content
from appliance.maintenance.support.wording import Wording
from tests.cli.conftest import ordinary_user
from tests.cli.terminal import appliance


def test_a_level_that_does_not_exist_is_wrong_usage():
    result = appliance("logs", "--level", "loud")

    assert result.code == 2
    assert "expected one of debug, info" in result.err


def test_only_our_units_are_asked_for_and_options_are_passed_on():
    plain = journalctl(200, "", "", follow=False, boot=False, explain=False, as_json=False)
    all_of_it = journalctl(0, "1 hour ago", "err", follow=True, boot=True, explain=True, as_json=False)

    assert plain == ["--unit=appliance*", "--no-pager", "--no-hostname", "--output=short-iso", "--lines=200"]
    assert all_of_it[4:] == ["--since=1 hour ago", "--priority=err", "--follow", "--boot", "--catalog"]


@pytest.mark.parametrize("since", ["-x", "--unit=ssh"])
def test_a_time_cannot_become_an_option(since):
    assert f"--since={since}" in journalctl(1, since, "", follow=False, boot=False, explain=False, as_json=True)


def test_a_machine_without_a_journal_is_told(tmp_path):
    if any(Path(place).is_dir() for place in ("/run/log/journal", "/var/log/journal")):
        pytest.skip("this machine has a journal: tests/system/test_life.py reads one")
    result = appliance("logs")

    assert result.code == 1
    assert "no systemd journal" in result.err


def test_a_journal_without_files_is_told_with_what_to_look_at(tmp_path):
    empty = tmp_path / "journal"
    (empty / "0123456789abcdef").mkdir(parents=True)

    with pytest.raises(Failed, match=f"no files in {empty}") as refused:
        require_journal("sudo appliance logs", [tmp_path / "absent", empty])
    assert "systemctl status systemd-journald" in refused.value.hint
    with pytest.raises(Failed, match="no systemd journal") as refused:
        require_journal("sudo appliance logs", [tmp_path / "absent"])
    assert "appliance serve 2> FILE" in refused.value.hint


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_journal_that_is_listed_and_not_readable_is_not_readable(public_directory):
    with ordinary_user():
        assert may_read_journal([public_directory / "journal"]), "nothing has been written yet"
    file = public_directory / "journal" / "0123456789abcdef" / "system.journal"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"LPKSHHRH")
    file.chmod(0o640)

    assert may_read_journal([public_directory / "journal"])
    with ordinary_user():
        assert os.access(public_directory / "journal", os.R_OK, effective_ids=True)
        assert not may_read_journal([public_directory / "journal"])
        with pytest.raises(Failed, match="cannot be read by this user") as refused:
            journal_content("", Wording(), 1000, [public_directory / "journal"])
        assert refused.value.hint == "sudo appliance support-bundle"
    file.chmod(0o644)
    with ordinary_user():
        assert may_read_journal([public_directory / "journal"])
