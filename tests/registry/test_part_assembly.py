"""Content that comes in parts: read once, hashed while it is written, resumed where it was cut off."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.bundle.oci_layers import ItemFile, Part
from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.errors import Failed
from appliance.model.identity import digest_hex
from appliance.registry.blob_store import BlobStore
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.part_assembly import assemble, forget_partial
from appliance.state_layout import StateLayout
from tests.registry.bundles import PART_BYTES, Parts
from tests.support.small_disk import SMALL_DISK_BYTES

DATA = bytes(range(256)) * 4  # four parts: three of 300 bytes, one of 124


@pytest.fixture
def blobs(registry: ModelRegistry) -> BlobStore:
    return registry.blobs


@pytest.fixture
def partial(registry: ModelRegistry) -> Path:
    return registry.layout.partial_blobs


@pytest.fixture
def parts() -> Parts:
    return Parts()


def bring(file: ItemFile, parts: Parts, partial: Path, blobs: BlobStore) -> int:
    """Assemble a file; returns how many bytes it said that it had done."""
    told: list[int] = []
    assemble(file.digest, file.parts, parts.open, partial, blobs, told.append)
    return sum(told)


def refused(act: Callable[[], object]) -> UpdateRefused:
    with pytest.raises(UpdateRefused) as caught:
        act()
    return caught.value


@pytest.mark.parametrize("data", [DATA, DATA[:PART_BYTES], b"x", b""])
def test_parts_in_a_row_become_the_blob(data: bytes, parts: Parts, partial: Path, blobs: BlobStore) -> None:
    file = parts.cut(data)

    done_bytes = bring(file, parts, partial, blobs)

    assert blobs.path(file.digest).read_bytes() == data
    assert blobs.path(file.digest).stat().st_mode & 0o777 == 0o444
    assert blobs.path(file.digest).stat().st_nlink == 1
    assert (done_bytes, parts.read) == (len(data), [part.digest for part in file.parts if part.size_bytes])
    assert list(partial.iterdir()) == []


def test_content_that_is_there_is_not_read_again(parts: Parts, partial: Path, blobs: BlobStore) -> None:
    file = parts.cut(DATA)
    bring(file, parts, partial, blobs)
    parts.read.clear()

    bring(file, parts, partial, blobs)

    assert parts.read == []


def test_content_that_has_rotted_is_replaced_and_not_written_to(
    parts: Parts, partial: Path, blobs: BlobStore
) -> None:
    file = parts.cut(DATA)
    bring(file, parts, partial, blobs)
    path = blobs.path(file.digest)
    path.chmod(0o644)
    path.write_bytes(b"rotten")
    with path.open("rb") as opened_before:
        bring(file, parts, partial, blobs)

        assert opened_before.read() == b"rotten"  # as a runtime that has it mapped sees it
    assert path.read_bytes() == DATA


def test_a_partial_file_that_became_a_blob_is_never_written_to(parts: Parts, partial: Path, blobs: BlobStore) -> None:
    """Cut off between the blob's name and the end of the partial file; later the blob rots."""
    file = parts.cut(DATA)
    bring(file, parts, partial, blobs)
    path = blobs.path(file.digest)
    os.link(path, partial / digest_hex(file.digest))
    path.chmod(0o644)
    path.write_bytes(DATA[:PART_BYTES] + b"rotten")
    with path.open("rb") as opened_before:
        bring(file, parts, partial, blobs)

        assert opened_before.read() == DATA[:PART_BYTES] + b"rotten"
    assert path.read_bytes() == DATA
    assert list(partial.iterdir()) == []


def test_a_medium_that_goes_away_costs_at_most_one_part(parts: Parts, partial: Path, blobs: BlobStore) -> None:
    file = parts.cut(DATA)
    gone = parts.content.pop(file.parts[2].digest)
    with pytest.raises(KeyError):
        bring(file, parts, partial, blobs)
    parts.content[file.parts[2].digest] = gone
    parts.read.clear()

    done_bytes = bring(file, parts, partial, blobs)

    assert parts.read == [part.digest for part in file.parts[2:]]
    assert done_bytes == len(DATA)
    assert blobs.path(file.digest).read_bytes() == DATA


@pytest.mark.parametrize("size_bytes", [0, 10, PART_BYTES, PART_BYTES + 10, 3 * PART_BYTES])
@pytest.mark.parametrize("spoil", [False, True])
def test_what_a_cut_left_is_hashed_before_it_is_used(
    size_bytes: int, parts: Parts, partial: Path, blobs: BlobStore, *, spoil: bool
) -> None:
    file = parts.cut(DATA)
    partial.mkdir()
    kept = bytearray(DATA[:size_bytes])
    if spoil and kept:
        kept[0] ^= 1
    (partial / digest_hex(file.digest)).write_bytes(kept)

    bring(file, parts, partial, blobs)

    whole = 0 if spoil and kept else size_bytes // PART_BYTES
    assert parts.read == [part.digest for part in file.parts[whole:]]
    assert blobs.path(file.digest).read_bytes() == DATA


@pytest.mark.parametrize("position", [0, 150, PART_BYTES - 1])
@pytest.mark.parametrize("number", [1, 2, 4])
def test_one_wrong_bit_is_found_in_its_part(
    number: int, position: int, parts: Parts, partial: Path, blobs: BlobStore
) -> None:
    file = parts.cut(DATA)
    part = file.parts[number - 1]
    right = parts.content[part.digest]
    wrong = bytearray(right)
    wrong[min(position, len(wrong) - 1)] ^= 1
    parts.content[part.digest] = bytes(wrong)

    error = refused(lambda: bring(file, parts, partial, blobs))

    assert error.reason is Refusal.HASH_MISMATCH
    assert error.message.startswith(f"the content of part {number} of 4 of {file.digest} is sha256:")
    assert (error.facts["file"], error.facts["expected"]) == (file.digest, part.digest)
    assert len(parts.read) == number
    assert not blobs.path(file.digest).exists()
    parts.content[part.digest] = right
    bring(file, parts, partial, blobs)
    assert blobs.path(file.digest).read_bytes() == DATA


@pytest.mark.parametrize(("change", "found"), [(b"", "has 299 of 300 bytes"), (b"xx", "has more than 300 bytes")])
def test_a_part_of_another_size_is_refused(
    change: bytes, found: str, parts: Parts, partial: Path, blobs: BlobStore
) -> None:
    file = parts.cut(DATA)
    first = file.parts[0].digest
    parts.content[first] = parts.content[first][:-1] + change

    error = refused(lambda: bring(file, parts, partial, blobs))

    assert error.reason is Refusal.HASH_MISMATCH
    assert f"part 1 of 4 of {file.digest} {found}" in error.message


def test_endless_content_is_given_up_at_the_size_that_was_signed(partial: Path, blobs: BlobStore) -> None:
    file = Parts().cut(DATA)
    given = 0

    def endless(_: Part) -> Iterator[memoryview]:
        nonlocal given
        while True:
            given += 100
            yield memoryview(bytes(100))

    refused(lambda: assemble(file.digest, file.parts, endless, partial, blobs, lambda _: None))

    assert given == PART_BYTES + 100
    assert (partial / digest_hex(file.digest)).stat().st_size <= PART_BYTES


def test_right_parts_of_another_file_are_no_blob_and_are_not_kept(
    parts: Parts, partial: Path, blobs: BlobStore
) -> None:
    file, other = parts.cut(DATA), parts.cut(b"another file")
    lie = replace(file, digest=other.digest)

    error = refused(lambda: bring(lie, parts, partial, blobs))

    assert (error.reason, error.facts["file"]) == (Refusal.HASH_MISMATCH, other.digest)
    assert not blobs.path(other.digest).exists()
    assert bring(other, parts, partial, blobs) == len(b"another file")


def test_incomplete_files_that_no_open_update_wants_go(parts: Parts, partial: Path, blobs: BlobStore) -> None:
    wanted, unwanted = parts.cut(DATA), parts.cut(b"unwanted")
    partial.mkdir()
    (partial / digest_hex(wanted.digest)).write_bytes(DATA[:PART_BYTES])
    (partial / digest_hex(unwanted.digest)).write_bytes(b"unw")

    forget_partial(partial, keep=[wanted.digest])

    assert [path.name for path in partial.iterdir()] == [digest_hex(wanted.digest)]
    bring(wanted, parts, partial, blobs)
    assert len(parts.read) == 3


def test_a_disk_that_is_full_is_told_with_the_remedy(small_disk: Path, parts: Parts) -> None:
    layout = StateLayout(small_disk)
    file = parts.cut(b"x" * 2 * SMALL_DISK_BYTES, 64 * 1024)
    with ModelRegistry.open(layout) as registry:
        with pytest.raises(Failed, match=r"staging sha256:.*No space left on device.*make room"):
            assemble(file.digest, file.parts, parts.open, layout.partial_blobs, registry.blobs, lambda _: None)

        assert not registry.blobs.path(file.digest).exists()


MEMORY = """
import hashlib, resource, sys
from pathlib import Path
from appliance.bundle.oci_layers import Part
from appliance.model.identity import digest_of_hex
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.part_assembly import assemble
from appliance.state_layout import StateLayout

CHUNK, CHUNKS, PARTS = 4 * 1024 * 1024, 16, 8
buffer = bytearray(CHUNK)
part = Part(digest_of_hex(hashlib.sha256(bytes(CHUNK * CHUNKS)).hexdigest()), CHUNK * CHUNKS)
whole = hashlib.sha256()
for _ in range(PARTS):
    whole.update(bytes(CHUNK * CHUNKS))
layout = StateLayout(Path(sys.argv[1]))
with ModelRegistry.open(layout) as registry:
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    chunks = lambda _: (memoryview(buffer) for _ in range(CHUNKS))
    digest = digest_of_hex(whole.hexdigest())
    assemble(digest, [part] * PARTS, chunks, layout.partial_blobs, registry.blobs, lambda _: None)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(int(status["VmHWM"].split()[0]) * 1024 - before)
"""


@pytest.mark.slow
def test_memory_stays_flat_however_large_a_file_is(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    extra_bytes = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert extra_bytes < 32 * 1024 * 1024  # of 512 MiB
