"""What a restore and a reset both do with a state as a whole."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.durable import copy_hashed, disk_errors, make_directory, shared_lock, try_exclusive_lock
from appliance.errors import Busy
from appliance.state_layout import StateLayout

REGISTRY_COPIES = "registry-before-*.db"  # in slots/, of before new software wrote it


@contextmanager
def content_alone(layout: StateLayout) -> Iterator[None]:
    """Hold the content store alone. Raises Busy while another command stores something."""
    directory = layout.blobs / "sha256"
    lock = try_exclusive_lock(directory)
    if lock is None and directory.is_dir():
        raise Busy(f"another command works on the models in {layout.root}", hint="try again when it has ended")
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def copy_log(source: Path, target: Path) -> None:
    """Put a durable copy of an audit log in place of another."""
    with disk_errors("carrying on the audit log"):
        shutil.rmtree(target, ignore_errors=True)
        make_directory(target)
        with shared_lock(source):
            for path in sorted((*source.glob("*.jsonl"), *source.glob("head.json"))):
                with path.open("rb") as stream:
                    copy_hashed(stream, target / path.name, mode=0o640)


def forget_registry_copies(layout: StateLayout) -> None:
    """Delete copies of a registry that this state does not have any more: a way back would put them in its place."""
    for snapshot in layout.slots.glob(REGISTRY_COPIES):
        snapshot.unlink()
