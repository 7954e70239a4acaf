"""python-tuf's way to a medium: its fetcher, over a directory instead of a network."""

import io
from collections.abc import Iterator

from tuf.api.exceptions import DownloadError, DownloadHTTPError

from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.updates.medium import MetadataSource, NotOnMedium
from appliance.updates.tuf_client import FetcherInterface

_PIECE_BYTES = 64 * 1024


class DirectoryFetcher(FetcherInterface):
    """Fetches `<directory>/<file>` of the bundle. "Not found" means exactly that: it ends the chain of roots.

    refused: the reason of the last failure that was not "not found" (python-tuf would hide it).
    """

    def __init__(self, source: MetadataSource) -> None:
        self._source = source
        self.refused: UpdateRefused | None = None

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            stream = self._source.open_file(url)  # eagerly: an error here is about the file, not its content
        except NotOnMedium as error:
            raise DownloadHTTPError(f"{url} is not on the medium", 404) from error
        except UpdateRefused as refused:
            self.refused = refused
            raise DownloadError(refused.message) from refused
        return self._pieces(stream)

    def _pieces(self, stream: io.RawIOBase) -> Iterator[bytes]:
        with stream:
            while piece := self._piece(stream):
                yield piece

    def _piece(self, stream: io.RawIOBase) -> bytes:
        try:
            return stream.read(_PIECE_BYTES) or b""
        except OSError as error:
            self.refused = UpdateRefused(
                Refusal.MEDIUM_IO,
                f"the medium cannot be read: {error.strerror}",
                hint="is the stick still plugged in? Try again, then another stick",
            )
            raise DownloadError(self.refused.message) from error
