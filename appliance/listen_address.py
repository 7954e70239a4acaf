"""Where a daemon may listen, as settings and command lines write it."""

LARGEST_PORT = 65535


def parse_listen_address(text: str) -> str:
    """Check `host:port`, `[v6]:port` or `unix:/path`; return gRPC's form of it. Raises ValueError."""
    if text.startswith("unix:"):
        if not text.removeprefix("unix:").startswith("/"):
            raise ValueError(f"listen address '{text}': expected unix:/absolute/path")
        return text
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isascii() or not port.isdigit() or int(port) > LARGEST_PORT:
        raise ValueError(f"listen address '{text}': expected host:port or unix:/path")
    return text
