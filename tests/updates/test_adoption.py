"""Root's part of a software update believes nobody but the owner: the service that asks may be somebody else's."""

import io
import json
import os
import socket
import stat
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.bundle.software_item import SoftwareItem
from appliance.errors import Failed, InvalidInput
from appliance.slots.record import SlotName
from appliance.slots.running import software_to_run
from appliance.slots.store import SlotStore
from appliance.slots.tree import check_tree
from appliance.state_layout import StateLayout
from appliance.updates.adoption import adopt
from appliance.updates.content_bringer import bring_here
from appliance.updates.medium import Medium
from appliance.updates.order_lines import answer
from appliance.updates.slot_filler import InstallationFiller, archive_of
from appliance.updates.trust_store import TrustStore
from tests.slots.trees import make_tree
from tests.updates.boxes import Publisher, SealedBox

B = SlotName.B


class Installation:
    """A box's state, the slots as root has them, and what a service asks of root."""

    def __init__(self, layout: StateLayout) -> None:
        self.layout = layout
        self.store = SlotStore(layout.slots, layout.software)
        self.said: list[dict[str, object]] = []

    def order(self, stick: Path, item: SoftwareItem, **other: str) -> None:
        order = {"slot": "B", "tree": item.tree, "place": str(stick), "bundle": "", **other}
        adopt(order, self.layout, self.said.append)

    @property
    def lies(self) -> bool:
        return self.store.path(B).exists()


@pytest.fixture
def installation(box: SealedBox, publisher: Publisher) -> Installation:
    TrustStore(box.layout.anchor).provision(publisher.root)
    return Installation(box.layout)


def brought(layout: StateLayout, stick: Path, publisher: Publisher, version: str) -> SoftwareItem:
    """Put a release's archive among the blobs, as the service does before it asks."""
    (target,) = [path for path in (publisher.directory / "station").rglob("*.json") if is_release(path, version)]
    item = SoftwareItem.parse(target.read_bytes())
    (layout.blobs / "sha256").mkdir(parents=True, exist_ok=True)
    with Medium.open(stick) as medium:
        bring_here(layout, medium, list(item.files.values()), lambda *_: None)
    return item


def is_release(path: Path, version: str) -> bool:
    try:
        return SoftwareItem.parse(path.read_bytes()).version == version
    except InvalidInput:
        return False


def test_what_the_owner_signed_is_laid_and_the_record_is_left_to_the_service(installation, publisher):
    stick = publisher.release("0.2.0")
    item = brought(installation.layout, stick, publisher, "0.2.0")
    installation.order(stick, item)

    assert check_tree(installation.store.path(B), item.tree) == ""
    assert installation.said[-1] == {"files": item.file_count - 1}
    assert not installation.store.exists
    modes = {stat.S_IMODE(path.stat().st_mode) & 0o022 for path in installation.store.path(B).rglob("*")}
    assert modes == {0}


def test_another_owners_release_is_refused(installation, tmp_path):
    stranger = Publisher(tmp_path / "stranger")
    stranger.hold_ceremony()
    stick = stranger.release("0.2.0")
    item = brought(installation.layout, stick, stranger, "0.2.0")

    with pytest.raises(UpdateRefused) as refused:
        installation.order(stick, item)
    assert refused.value.reason is Refusal.BAD_SIGNATURE
    assert not installation.lies


def test_a_tree_that_the_ticket_does_not_bring_is_refused(installation, publisher):
    stick = publisher.release("0.2.0")
    item = brought(installation.layout, stick, publisher, "0.2.0")

    with pytest.raises(UpdateRefused, match="brings no release with the tree 000"):
        installation.order(stick, item, tree="0" * 64)
    assert not installation.lies


def test_an_archive_that_the_service_changed_is_refused(installation, publisher):
    stick = publisher.release("0.2.0")
    item = brought(installation.layout, stick, publisher, "0.2.0")
    archive = archive_of(installation.layout, item)
    data = archive.read_bytes()
    archive.chmod(0o644)
    archive.write_bytes(data.replace(b'"version"', b'"Version"', 1))

    with pytest.raises(InvalidInput, match="has changed"):
        installation.order(stick, item)
    assert not installation.lies


def many_empty_files() -> bytes:
    """As many as find room in the bytes that were signed."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for number in range(1000):
            archive.addfile(tarfile.TarInfo(f"site/{number}"))
    return out.getvalue()


def one_long_header() -> bytes:
    """A name of 100 MB, as PAX allows it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("x" * 100_000_000))
    return out.getvalue()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (lambda data: data * 3, r"more than the \d+ bytes that were signed"),
        (lambda _: many_empty_files(), "more than the 5 files that were signed"),
        (lambda data: one_long_header() + data, "cannot be unpacked: .*header"),
    ],
)
def test_an_archive_that_holds_more_than_was_signed_is_not_unpacked_to_its_end(installation, publisher, more, words):
    stick = publisher.release("0.2.0")
    item = brought(installation.layout, stick, publisher, "0.2.0")
    archive = archive_of(installation.layout, item)
    data = archive.read_bytes().rstrip(b"\0")
    archive.chmod(0o644)
    archive.write_bytes(more(data + bytes(-len(data) % 512)))

    with pytest.raises(InvalidInput, match=words):
        installation.order(stick, item)
    assert not installation.lies
    assert not installation.store.path(B).with_suffix(".tmp").exists()


def test_an_older_release_is_refused_after_a_newer_one(installation, publisher):
    older, newer = publisher.release("0.2.0"), publisher.release("0.3.0")
    sticks = {"0.2.0": older, "0.3.0": newer}
    items = [brought(installation.layout, stick, publisher, version) for version, stick in sticks.items()]
    installation.order(newer, items[1])

    with pytest.raises(UpdateRefused) as refused:
        installation.order(older, items[0])
    assert refused.value.reason is Refusal.ROLLBACK
    assert check_tree(installation.store.path(B), items[1].tree) == ""


def test_nobody_decides_where_root_was_given_no_owner(box, publisher):
    installation = Installation(box.layout)
    stick = publisher.release("0.2.0")
    item = brought(installation.layout, stick, publisher, "0.2.0")

    with pytest.raises(UpdateRefused, match="knows no owner") as refused:
        installation.order(stick, item)
    assert "appliance provision" in refused.value.hint
    assert not installation.lies


@contextmanager
def listening(path: Path, serve) -> Iterator[None]:
    """One connection of systemd's socket, served by `serve(stream)`."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    server.listen()

    def take() -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("rw") as stream:
            serve(stream)

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(10)
        server.close()


def test_the_service_asks_follows_and_writes_the_record(installation, publisher, box):
    stick = publisher.release("0.2.0")
    item = brought(installation.layout, stick, publisher, "0.2.0")
    counts = []

    def serve(stream) -> None:
        order = json.loads(stream.readline())

        def say(document) -> None:
            stream.write(json.dumps(document) + "\n")
            stream.flush()

        answer(lambda: adopt(order, installation.layout, say), say)

    path = box.runtime / "software.sock"
    with listening(path, serve), Medium.open(stick) as medium:
        InstallationFiller(path)(installation.layout, medium, B, item, counts.append)

    slot = installation.store.read().slots[B]
    assert (slot.tree, slot.version, slot.usable) == (item.tree, "0.2.0", True)
    assert counts == list(range(1, item.file_count))


@pytest.mark.parametrize("words", ["", '{"files": 1}\n', '{"files": 1}\n{"do'])
def test_an_end_without_a_word_is_told_and_the_slot_counts_as_empty(installation, publisher, box, words):
    stick = publisher.release("0.2.0")
    item = brought(installation.layout, stick, publisher, "0.2.0")
    path = box.runtime / "software.sock"

    def serve(stream) -> None:
        stream.readline()
        stream.write(words)

    with (
        listening(path, serve),
        Medium.open(stick) as medium,
        pytest.raises(Failed, match="did not say why") as failed,
    ):
        InstallationFiller(path)(installation.layout, medium, B, item, lambda _: None)
    assert "journalctl" in failed.value.hint
    assert not installation.store.read().slots[B].usable


def test_nobody_who_listens_is_told_with_the_remedy(installation, publisher, box):
    stick = publisher.release("0.2.0")
    item = brought(installation.layout, stick, publisher, "0.2.0")

    with Medium.open(stick) as medium, pytest.raises(Failed) as failed:
        InstallationFiller(box.runtime / "nobody.sock")(installation.layout, medium, B, item, lambda _: None)
    assert "appliance-software.socket" in failed.value.hint


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_root_runs_no_tree_that_somebody_else_could_have_written(box, publisher, tmp_path):
    make_tree(tmp_path / "tree", "0.1.0")
    box.layout.root.mkdir(parents=True, exist_ok=True)
    box.install_software(tmp_path / "tree")
    tree = box.places.slots.path(SlotName.A)
    assert software_to_run(box.places) == tree

    os.chown(tree, 12345, 12345)
    assert software_to_run(box.places) == box.places.rescue
    os.chown(tree, 0, 0)
    tree.parent.chmod(0o777)
    assert software_to_run(box.places) == box.places.rescue
