"""Releases of the software at the station: signed whole, never changed, the newest for each kind of box."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.bundle.layout import BLOBS_DIRECTORY
from appliance.bundle.oci_layers import ItemFile, Part, digest_of_bytes
from appliance.bundle.software_item import SoftwareItem
from appliance.bundle.ticket import Devices
from appliance.errors import AlreadyExists, InvalidInput
from appliance.model.identity import digest_hex
from appliance.publish.bundle_check import check_bundle
from appliance.publish.cutting import CutRequest
from appliance.publish.software import add_software, write_archive
from appliance.slots.tree import Software
from tests.slots.trees import make_tree
from tests.updates.boxes import Publisher, silent
from tests.updates.conftest import ceremony, publisher  # noqa: F401  (fixtures)

CONTENT = digest_of_bytes(b"x")
ITEM = SoftwareItem(
    Software("1.2.3", "3.11", "x86_64", 4, "gpu"), "a" * 64, 9, 2, ItemFile(CONTENT, 1, (Part(CONTENT, 1),))
)


def add(publisher: Publisher, version: str, **tree: object) -> str:  # noqa: F811
    trees = publisher.directory / "trees"
    directory = trees / str(len(list(trees.iterdir())) if trees.exists() else 0)
    make_tree(directory, version, **tree)
    with publisher.opened() as station:
        return add_software(station, directory, silent, 1 << 12)


def test_a_release_is_cut_checked_and_read_back_as_the_tree_that_was_signed(publisher):  # noqa: F811
    target = add(publisher, "0.2.0")
    stick = publisher.cut("s", CutRequest(Devices(all=True)))
    checked = check_bundle(stick, publisher.root, publisher.now, silent)
    (item,) = checked.items

    assert isinstance(item, SoftwareItem)
    assert item.target == target == "software/appliance/0.2.0-py3.11-x86_64-cpu.json"
    blobs = stick / "APPLIANCE-UPDATE" / BLOBS_DIRECTORY
    archive = b"".join((blobs / digest_hex(part.digest)).read_bytes() for part in item.archive.parts)
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        names = members.getnames()
    assert "FILES.sha256" in names
    assert len(names) == item.file_count
    assert len(item.archive.parts) > 1


def test_a_bundle_brings_the_newest_release_for_each_kind_of_box(publisher):  # noqa: F811
    for version in ("0.9.0", "0.10.0"):
        for machine in ("x86_64", "aarch64"):
            add(publisher, version, machine=machine)
    add(publisher, "0.9.0", variant="gpu")
    stick = publisher.cut("s", CutRequest(Devices(all=True)))
    checked = check_bundle(stick, publisher.root, publisher.now, silent)

    assert sorted(item.path for item in checked.ticket.items) == [
        "software/appliance/0.10.0-py3.11-aarch64-cpu.json",
        "software/appliance/0.10.0-py3.11-x86_64-cpu.json",
        "software/appliance/0.9.0-py3.11-x86_64-gpu.json",
    ]


def test_a_release_never_changes(publisher):  # noqa: F811
    add(publisher, "0.2.0")
    add(publisher, "0.2.0", data_epoch=1)  # the same again is no change

    with pytest.raises(AlreadyExists, match="signed with other content"):
        add(publisher, "0.2.0", data_epoch=2)


def test_an_older_release_is_signed_only_if_somebody_insists(publisher, tmp_path):  # noqa: F811
    add(publisher, "0.10.0")
    add(publisher, "0.10.0", machine="aarch64")
    make_tree(tmp_path / "older", "0.9.0")
    with publisher.opened() as station:
        version = station.store.versions("software")[-1]
        with pytest.raises(InvalidInput, match=r"0\.9\.0 is older than 0\.10\.0") as refused:
            add_software(station, tmp_path / "older", silent, 1 << 12)
        unchanged = station.store.versions("software")[-1]
        forced = add_software(station, tmp_path / "older", silent, 1 << 12, allow_older=True)

    assert refused.value.hint.endswith("--force")
    assert unchanged == version
    assert forced == "software/appliance/0.9.0-py3.11-x86_64-cpu.json"
    add(publisher, "0.9.0")  # what is signed may be added again
    add(publisher, "0.9.0", python="3.13")  # another kind of box, another row of releases


def test_a_tree_that_is_not_whole_is_not_signed(publisher, tmp_path):  # noqa: F811
    with publisher.opened() as station, pytest.raises(InvalidInput, match="no software tree"):
        add_software(station, tmp_path, silent)
    make_tree(tmp_path / "tree", "0.2.0")
    (tmp_path / "tree/site/appliance/cli/main.py").write_text("changed")
    with publisher.opened() as station, pytest.raises(InvalidInput, match="has changed"):
        add_software(station, tmp_path / "tree", silent)


def test_the_same_tree_gives_the_same_archive(tmp_path):
    written = []
    for name in ("one", "two"):
        make_tree(tmp_path / name)
        stream = io.BytesIO()
        write_archive(tmp_path / name, ["software.json", "site/appliance/cli/main.py"], stream)
        written.append(stream.getvalue())

    assert written[0] == written[1]


@given(
    st.builds(
        SoftwareItem,
        st.builds(
            Software,
            st.from_regex(r"\d{1,3}\.\d{1,3}\.\d{1,3}", fullmatch=True).filter(str.isascii),
            st.sampled_from(["3.11", "3.13"]),
            st.sampled_from(["x86_64", "aarch64"]),
            st.integers(1, 10**6),
        ),
        st.from_regex("[0-9a-f]{64}", fullmatch=True),
        st.integers(0, 2**53),
        st.integers(0, 2**53),
        st.integers(0, 1000).map(lambda size: ItemFile(CONTENT, size, (Part(CONTENT, size),))),
    )
)
def test_a_manifest_is_read_back_as_it_was_written(item):
    assert SoftwareItem.parse(item.to_bytes()) == item


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"1.2.3"', b'"1.2"'),
        (b'"3.11"', b'"3.x"'),
        (b'"x86_64"', b'"../x"'),
        (b'"4"', b'"-4"'),
        (b'"4"', b'"0"'),
        (b'"9"', b'"9.0"'),
        (b'"' + b"a" * 64, b'"' + b"z" * 64),
        (b"software.tar", b"other.tar"),
        (b'{"annotations"', b'{"aaa":1,"annotations"'),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(old, new):
    data = ITEM.to_bytes()
    assert old in data

    with pytest.raises(InvalidInput):
        SoftwareItem.parse(data.replace(old, new))
