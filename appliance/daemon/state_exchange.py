"""Another state in place of the one that is there: wholly, or not at all, wherever the power is cut.

    exchange/new/          what comes, complete and durable before anything else happens
    exchange/record.json   from here on the new state rules; whoever holds the daemon's lock next goes on
    exchange/old/          what was there, on its way out

Invariant: without a record nothing has changed. With it, each name is moved away once and put in place once, in any
number of attempts. The daemon finishes an exchange before it reads anything, so that a box in a cabinet needs nobody.
"""

import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import ClassVar, Literal

from appliance.bundle.signed_document import SignedDocument
from appliance.durable import disk_errors, fsync_directory, make_directory, write_file
from appliance.errors import InvalidInput, StateUnusable


class _Record(SignedDocument):
    title: ClassVar[str] = "the record of the exchange"

    reason: Literal["restore", "factory-reset"]
    take: tuple[str, ...]  # names that were there, and go
    put: tuple[str, ...]  # names that come


class StateExchange:
    """The `exchange/` directory of one state directory. Its user holds the daemon's lock."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._directory = root / "exchange"
        self._record = self._directory / "record.json"
        self._old = self._directory / "old"
        self.new = self._directory / "new"

    def begin(self) -> None:
        """Make an empty place for what comes, and forget an attempt that was never decided."""
        self.finish()
        with disk_errors("making room for another state"):
            self._clear()
            make_directory(self.new)
            make_directory(self._old)

    def commit(self, reason: Literal["restore", "factory-reset"], replaced: Collection[str]) -> None:
        """Decide, and exchange. `replaced`: names that go, whether or not something comes in their place."""
        with disk_errors("putting another state in place"):
            put = tuple(sorted(path.name for path in self.new.iterdir()))
            take = tuple(sorted(name for name in {*replaced, *put} if os.path.lexists(self._root / name)))
            _sync_tree(self.new)
            self._give_to_owner()
            write_file(self._record, _Record(reason=reason, take=take, put=put).to_bytes(), mode=0o644)
        self.finish()

    def finish(self) -> str:
        """Go on where an exchange was cut off; returns its reason, '' if none was decided. Raises StateUnusable."""
        with disk_errors("putting another state in place"):
            try:
                record = _Record.parse(self._record.read_bytes())
            except FileNotFoundError:
                # What root began to unpack, and a kill ended, the daemon's user may not be able to remove.
                shutil.rmtree(self._directory, ignore_errors=True)
                return ""
            except InvalidInput as error:
                raise StateUnusable(
                    f"{self._record} is damaged: {error.message}",
                    hint=f"keep a copy of {self._directory} for the report, remove it, then: "
                    "appliance restore FILE --replace",
                ) from error
            for name in record.take:
                if not os.path.lexists(self._old / name) and os.path.lexists(self._root / name):
                    os.rename(self._root / name, self._old / name)  # noqa: PTH104  (as above)
            fsync_directory(self._old)  # that a name has gone is known by its being there
            fsync_directory(self._root)
            for name in record.put:
                if os.path.lexists(self.new / name):
                    os.rename(self.new / name, self._root / name)  # noqa: PTH104
            fsync_directory(self._root)
            fsync_directory(self.new)
            self._record.unlink()
            fsync_directory(self._directory)
            self._clear()
        return record.reason

    def abandon(self) -> None:
        """Remove what was prepared, unless it was decided: then only going on is left."""
        with disk_errors("removing a state that did not come"):
            if not os.path.lexists(self._record):
                self._clear()

    def _clear(self) -> None:
        if not self._directory.is_dir():
            return
        shutil.rmtree(self._directory)
        fsync_directory(self._root)

    def _give_to_owner(self) -> None:
        """Root restores a state, the daemon's user must be able to move and remove it."""
        if os.geteuid() != 0:
            return
        owner = self._root.stat()
        for directory, names, files in os.walk(self._directory):
            for name in (".", *names, *files):
                os.chown(Path(directory, name), owner.st_uid, owner.st_gid, follow_symlinks=False)


def _sync_tree(root: Path) -> None:
    """Make every name below `root` durable; the files' content is already."""
    for directory, _, _ in os.walk(root):
        fsync_directory(Path(directory))
    fsync_directory(root.parent)
