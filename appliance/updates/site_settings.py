"""The site's signed settings: what a bundle brings of `appliance.toml`, below what the operator of the box says.

Two files: `site.toml` is in force, `site.previous.toml` was before it. Invariant: the one in force changes by one
rename, after its predecessor was kept.
"""

import hashlib
import io
import os
from pathlib import Path

from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.errors import InvalidInput
from appliance.registry.durable import copy_hashed, disk_errors, fsync_directory, make_directory
from appliance.settings import SITE_SETTINGS_FILE, check_site_settings


class SiteSettings:
    """The settings of one state directory's `updates/`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._current = directory / SITE_SETTINGS_FILE
        self._previous = directory / "site.previous.toml"

    def read(self) -> bytes:
        """Return what is in force; empty if the site never sent any."""
        with disk_errors("reading the site's settings"):
            return self._current.read_bytes() if self._current.exists() else b""

    def read_previous(self) -> bytes:
        """Return what was in force before."""
        with disk_errors("reading the site's settings"):
            return self._previous.read_bytes() if self._previous.exists() else b""

    def replace(self, data: bytes) -> None:
        """Put settings in force and keep those before; nothing happens if they are in force already."""
        if data == self.read():
            return
        with disk_errors("writing the site's settings"):
            make_directory(self._directory)
            self._write(self._previous, self.read())
            self._write(self._current, data)

    def undo(self, sha256_hex: str) -> None:
        """If settings with this digest are in force, put those before them in force again."""
        if hashlib.sha256(self.read()).hexdigest() == sha256_hex:
            with disk_errors("writing the site's settings"):
                self._write(self._current, self.read_previous())

    def _write(self, path: Path, data: bytes) -> None:
        partial = path.with_suffix(".tmp")
        partial.unlink(missing_ok=True)
        copy_hashed(io.BytesIO(data), partial, mode=0o644)
        os.replace(partial, path)  # noqa: PTH105  (counted by tests of crashes)
        fsync_directory(self._directory)

    @property
    def sha256(self) -> str:
        """Digest of what is in force, in hex; '' if the site never sent any."""
        data = self.read()
        return hashlib.sha256(data).hexdigest() if data else ""


def require_valid_settings(data: bytes, path: str) -> None:
    """Check what a bundle brings before anything is done with it. Raises UpdateRefused."""
    try:
        check_site_settings(data, path)
    except InvalidInput as error:
        raise UpdateRefused(
            Refusal.PRECONDITION,
            error.message,
            hint="ask the signing station for a new bundle: its settings do not fit this version",
            facts={"item": path},
        ) from error
