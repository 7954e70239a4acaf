"""Content-addressed files."""

import hashlib
import stat
from pathlib import Path

import pytest

from appliance.durable import CHUNK_BYTES
from appliance.errors import Failed, InvalidInput, NotFound
from appliance.model.identity import Digest
from appliance.registry.blob_store import BlobStore
from appliance.registry.staging import StagingArea

ABSENT = Digest("sha256:" + "0" * 64)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    store = BlobStore(tmp_path / "blobs", StagingArea(tmp_path / "staging"))
    store.open_store()
    return store


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"x" * (CHUNK_BYTES + 1))  # more than one piece
    return path


def test_a_file_is_stored_under_the_digest_of_its_content(blobs: BlobStore, source: Path) -> None:
    digest = blobs.add_file(source)

    assert digest == "sha256:" + hashlib.sha256(source.read_bytes()).hexdigest()
    assert blobs.path(digest).parts[-3:-1] == ("blobs", "sha256")
    with blobs.open(digest) as stream:
        assert stream.read() == source.read_bytes()


def test_a_blob_is_read_only_and_a_copy_of_its_own(blobs: BlobStore, source: Path) -> None:
    found = blobs.path(blobs.add_file(source)).stat()

    assert stat.S_IMODE(found.st_mode) == 0o444
    assert found.st_ino != source.stat().st_ino


def test_nothing_stays_in_staging(blobs: BlobStore, source: Path, tmp_path: Path) -> None:
    blobs.add_file(source)

    assert list((tmp_path / "staging").iterdir()) == []


def test_progress_counts_the_bytes(blobs: BlobStore, source: Path) -> None:
    advances: list[int] = []
    blobs.add_file(source, advances.append)

    assert advances == [CHUNK_BYTES, 1]


def test_a_blob_that_is_there_is_kept(blobs: BlobStore, source: Path) -> None:
    inode = blobs.path(blobs.add_file(source)).stat().st_ino

    assert blobs.path(blobs.add_file(source)).stat().st_ino == inode


def test_a_blob_that_has_rotted_is_replaced_when_its_content_comes_again(blobs: BlobStore, source: Path) -> None:
    digest = blobs.add_file(source)
    rot(blobs.path(digest))

    with pytest.raises(Failed, match=r"content is sha256:.*, expected sha256:"):
        blobs.verify(digest)
    blobs.add_file(source)
    blobs.verify(digest)


def test_what_is_not_there_is_not_found(blobs: BlobStore) -> None:
    with pytest.raises(NotFound, match="appliance models add"):
        blobs.verify(ABSENT)
    with pytest.raises(NotFound):
        blobs.open(ABSENT)
    assert blobs.delete(ABSENT) == 0


def test_a_deleted_blob_is_gone_and_its_size_is_told(blobs: BlobStore, source: Path) -> None:
    digest = blobs.add_file(source)

    assert list(blobs.digests()) == [digest]
    assert blobs.delete(digest) == CHUNK_BYTES + 1
    assert list(blobs.digests()) == []


def test_a_strangers_file_among_the_blobs_is_none(blobs: BlobStore) -> None:
    (blobs.path(ABSENT).parent / "README").touch()

    assert list(blobs.digests()) == []


def test_a_link_is_not_followed(blobs: BlobStore, source: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(source)

    with pytest.raises(InvalidInput):
        blobs.add_file(tmp_path / "link")


def test_staging_of_a_dead_process_is_removed_and_of_a_living_one_kept(tmp_path: Path) -> None:
    area = StagingArea(tmp_path / "staging")
    area.open()
    (area.directory / "stale" / "deep").mkdir(parents=True)
    (area.directory / "stale" / "deep" / "half").write_bytes(b"half")
    (area.directory / "file").touch()
    with area.workspace() as workspace:
        (workspace / "half").touch()

        StagingArea(area.directory).open()

        assert list(area.directory.iterdir()) == [workspace]
        assert (workspace / "half").exists()
    assert list(area.directory.iterdir()) == []


def test_a_state_directory_that_cannot_be_made_is_told_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    area = StagingArea(tmp_path / "file" / "staging")

    with pytest.raises(Failed, match="cleaning the staging directory: File exists"):
        area.open()


def rot(path: Path) -> None:
    """Flip one bit in place, as a failing disk does."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
