"""python-tuf's client without its network. Everybody who needs the client imports it from here.

The client imports a fetcher over HTTP whether or not it is used, and with it a network library. That module is taken
before it can be loaded: in the process of a box there is nothing that could fetch.
"""

import sys
from types import ModuleType

_FETCHER_OVER_HTTP = "tuf.ngclient.urllib3_fetcher"


class Urllib3Fetcher:
    """Stands where python-tuf's own fetcher would. Nobody makes one: the verifier brings its own."""

    def __init__(self, *_: object, **__: object) -> None:
        raise AssertionError("a box fetches nothing over a network")


def _without_network() -> None:
    module = ModuleType(_FETCHER_OVER_HTTP)
    module.Urllib3Fetcher = Urllib3Fetcher  # type: ignore[attr-defined]
    sys.modules.setdefault(_FETCHER_OVER_HTTP, module)


_without_network()

from tuf.ngclient import Updater, UpdaterConfig  # noqa: E402
from tuf.ngclient.fetcher import FetcherInterface  # noqa: E402

__all__ = ["FetcherInterface", "Updater", "UpdaterConfig"]
