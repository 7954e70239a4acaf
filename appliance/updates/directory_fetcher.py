"""python-tuf's way to a medium: its fetcher, over a directory instead of a network."""

import io
from collections.abc import Iterator
from contextlib import closing

from tuf.api.exceptions import DownloadError, DownloadHTTPError

from appliance.bundle.refusal import UpdateRefused
from appliance.updates.medium import MetadataSource, NotOnMedium
from appliance.updates.read_ahead import chunks
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
        try:
            with stream, closing(chunks(stream, _PIECE_BYTES)) as pieces:
                for piece in pieces:
                    yield bytes(piece)
        except UpdateRefused as refused:
            self.refused = refused
            raise DownloadError(refused.message) from refused
