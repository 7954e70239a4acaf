"""Offline by construction: what a converting process tells its libraries before they are imported.

Invariants: transformers, optimum and huggingface_hub read these variables once, when they are imported, so they are
set before; no token and no proxy reaches a library; whoever tries the network all the same gets an error at once.
Nothing else in this room reads or writes the environment.
"""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

_SET = MappingProxyType(
    {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_EVALUATE_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "HF_HUB_DISABLE_XET": "1",
        "DISABLE_SAFETENSORS_CONVERSION": "true",  # transformers would ask a service on the hub to convert pickles
        "DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",  # its threads do not survive a fork, and warn of it at length
    }
)
_REMOVED = (
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "HUGGING_FACE_HUB_TOKEN",
    "HUGGINGFACE_TOKEN",
    "HF_ENDPOINT",
    "HF_INFERENCE_ENDPOINT",
    "HUGGINGFACE_CO_RESOLVE_ENDPOINT",
    "HUGGINGFACE_CO_STAGING",
    "ECS_CONTAINER_METADATA_URI",  # transformers asks it who is calling
    "TRUST_REMOTE_CODE",  # some tokenizers unpickle their vocabulary where it is set
)
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy")
_READ_IT_AT_IMPORT = ("huggingface_hub", "transformers", "optimum", "datasets", "tokenizers")
_CACHES = MappingProxyType(
    {
        "HOME": "home",  # for whatever has no variable of its own
        "XDG_CACHE_HOME": "cache",
        "HF_HOME": "huggingface",
        "TORCH_HOME": "torch",
        "TORCHINDUCTOR_CACHE_DIR": "inductor",
        "TRITON_CACHE_DIR": "triton",
    }
)
_INSIDE_HF_HOME = (
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_ASSETS_CACHE",
    "HF_XET_CACHE",
    "HF_MODULES_CACHE",
    "HF_DATASETS_CACHE",
    "TRANSFORMERS_CACHE",
    "PYTORCH_TRANSFORMERS_CACHE",
    "PYTORCH_PRETRAINED_BERT_CACHE",
)
_CONNECTIONS = ("socket.connect", "socket.sendto", "socket.sendmsg")
_NAME_LOOKUPS = ("socket.getaddrinfo", "socket.gethostbyname")


def go_offline() -> None:
    """Take this process off the network for good; before the first import of a library that loads models."""
    if not _is_offline():
        too_early = [name for name in _READ_IT_AT_IMPORT if name in sys.modules]
        assert not too_early, f"imported before go_offline(): {', '.join(too_early)}"
    if not _network_is_refused():
        sys.addaudithook(_refuse_network)
    os.environ.update(_SET)
    for name in (*_REMOVED, *_PROXIES, *(proxy.upper() for proxy in _PROXIES)):
        os.environ.pop(name, None)


@contextmanager
def caches_in(folder: Path) -> Iterator[None]:
    """Point every cache into `folder`, so that nothing is written at home; before the imports as well."""
    before = {name: os.environ.get(name) for name in (*_CACHES, *_INSIDE_HF_HOME)}
    for name in _INSIDE_HF_HOME:
        os.environ.pop(name, None)
    os.environ.update({name: str(folder / inside) for name, inside in _CACHES.items()})
    try:
        yield
    finally:
        _restore(before)


def _is_offline() -> bool:
    return all(os.environ.get(name) == value for name, value in _SET.items())


def _network_is_refused() -> bool:
    """Ask as a look-up would, without one: the environment may be inherited, a hook is not."""
    try:
        sys.audit(_NAME_LOOKUPS[0], "hub.invalid")
    except OSError:
        return True
    return False


def _restore(before: dict[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _refuse_network(event: str, arguments: tuple[object, ...]) -> None:
    """Audit hook: it cannot be taken off again."""
    if event in _NAME_LOOKUPS:
        host = arguments[0]
    elif event in _CONNECTIONS and isinstance(arguments[-1], tuple):  # the address of a Unix socket is a path
        host = arguments[-1][0]
    else:
        return
    if not _is_this_machine(host):
        raise OSError(errno.ENETUNREACH, f"a conversion never uses the network, but something wanted {host!r}")


def _is_this_machine(host: object) -> bool:
    text = host.decode(errors="replace") if isinstance(host, bytes) else str(host or "")
    return text in ("", "localhost", "::1") or text.startswith("127.")
