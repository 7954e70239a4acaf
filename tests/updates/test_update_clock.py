"""What time it can be."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tuf.api.metadata import Metadata

from appliance.updates.directory_fetcher import DirectoryFetcher
from appliance.updates.medium import Medium
from appliance.updates.trust_store import TrustStore
from appliance.updates.tuf_client import Updater
from appliance.updates.update_clock import UpdateClock
from appliance.updates.verified_metadata import set_reference_time
from tests.updates.boxes import Publisher

RELEASED = datetime(2026, 11, 1, tzinfo=UTC)
NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


def clock(tmp_path: Path, now: datetime) -> UpdateClock:
    return UpdateClock(tmp_path / "updates" / "clock.json", lambda: now, RELEASED)


def test_a_clock_above_the_floor_is_taken_for_the_time(tmp_path: Path) -> None:
    judged = clock(tmp_path, NOW).judge()

    assert (judged.now, judged.floor, judged.suspect) == (NOW, RELEASED, False)


def test_a_clock_in_1970_is_suspect_and_the_floor_is_taken(tmp_path: Path) -> None:
    judged = clock(tmp_path, datetime(1970, 1, 1, tzinfo=UTC)).judge()

    assert (judged.now, judged.suspect) == (RELEASED, True)


def test_a_clock_a_few_hours_below_the_floor_is_not_suspect(tmp_path: Path) -> None:
    assert not clock(tmp_path, RELEASED - timedelta(hours=23)).judge().suspect


def test_saved_times_and_accepted_tickets_raise_the_floor_and_never_lower_it(tmp_path: Path) -> None:
    clock(tmp_path, NOW).save()
    clock(tmp_path, NOW - timedelta(days=10)).save()
    clock(tmp_path, NOW).accepted(NOW - timedelta(days=20))
    assert clock(tmp_path, NOW).judge().floor == NOW

    clock(tmp_path, NOW).accepted(NOW + timedelta(days=1))
    assert clock(tmp_path, NOW).judge().floor == NOW + timedelta(days=1)


def test_a_clock_that_is_wrong_for_a_while_does_not_raise_the_floor_for_good(tmp_path: Path) -> None:
    wrong = UpdateClock(tmp_path / "clock.json", lambda: NOW + timedelta(days=7300), RELEASED, lambda: 0.0)
    for _ in range(100):
        wrong.save()

    right = UpdateClock(tmp_path / "clock.json", lambda: NOW, RELEASED)
    assert right.judge().floor == RELEASED + timedelta(days=31)


def test_a_saved_time_keeps_up_with_a_box_that_runs(tmp_path: Path) -> None:
    running_s = 0.0
    running = UpdateClock(
        tmp_path / "clock.json", lambda: RELEASED + timedelta(seconds=running_s), RELEASED, lambda: running_s
    )
    for day in range(0, 400, 10):
        running_s = day * 86400.0
        running.save()

    assert running.judge().floor == RELEASED + timedelta(days=390)


def test_a_damaged_file_falls_back_to_the_release(tmp_path: Path) -> None:
    clock(tmp_path, NOW).save()
    (tmp_path / "updates" / "clock.json").write_bytes(b"rot")

    assert clock(tmp_path, NOW).judge().floor == RELEASED


def test_python_tuf_judges_expiry_as_of_the_time_that_it_is_given(publisher: Publisher, tmp_path: Path) -> None:
    """The one private attribute of python-tuf that is relied upon."""
    store = TrustStore(tmp_path / "trust")
    store.provision(publisher.root)
    with Medium.open(publisher.stick(1)) as medium:
        fetcher = DirectoryFetcher(medium)
        updater = Updater(str(store.current), "metadata/", bootstrap=publisher.root, fetcher=fetcher)
    expires = Metadata.from_bytes(publisher.root).signed.expires

    for reference, expired in ((expires - timedelta(seconds=1), False), (expires + timedelta(seconds=1), True)):
        set_reference_time(updater, reference)
        assert updater._trusted_set.root.is_expired(updater._trusted_set.reference_time) is expired
