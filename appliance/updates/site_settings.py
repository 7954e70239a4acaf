"""The site's signed settings: what a bundle brings of `appliance.toml`, below what the operator of the box says.

`site.toml` is in force; what any ticket put in force is kept as `site-<sha256>.toml`, so that a way back finds it.
Invariant: what is in force changes by one rename, after its predecessor was kept.
"""

import hashlib
from pathlib import Path

from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.durable import disk_errors, make_directory, write_file
from appliance.errors import Failed, InvalidInput
from appliance.settings import SITE_SETTINGS_FILE, check_site_settings


class SiteSettings:
    """The settings of one state directory's `updates/`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._current = directory / SITE_SETTINGS_FILE

    def read(self) -> bytes:
        """Return what is in force; empty if the site never sent any."""
        with disk_errors("reading the site's settings"):
            return self._current.read_bytes() if self._current.exists() else b""

    @property
    def sha256(self) -> str:
        """Digest of what is in force, in hex; '' if there are none, or none that can be read."""
        return digest_of_settings(self._readable())

    def replace(self, data: bytes) -> None:
        """Put settings in force; those before them are kept by their digest."""
        with disk_errors("writing the site's settings"):
            make_directory(self._directory)
            for content in (self._readable(), data):
                if content and not self._kept(digest_of_settings(content)).exists():
                    self._write(self._kept(digest_of_settings(content)), content)
            self._write(self._current, data)

    def undo(self, before: str, after: str) -> None:
        """If the settings `after` (a digest) are in force, put those `before` in force again."""
        if before == after or self.sha256 != after:
            return
        with disk_errors("writing the site's settings"):
            self._write(self._current, self._kept(before).read_bytes() if before else b"")

    def _readable(self) -> bytes:
        try:
            return self.read()
        except Failed:
            return b""

    def _kept(self, sha256_hex: str) -> Path:
        return self._directory / f"site-{sha256_hex}.toml"

    def _write(self, path: Path, data: bytes) -> None:
        write_file(path, data, mode=0o644)


def digest_of_settings(data: bytes) -> str:
    """Name settings: their SHA-256 in hex, '' for none."""
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
