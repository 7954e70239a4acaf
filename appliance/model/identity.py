"""Names of things: parsed once at the edge, trusted afterwards."""

import re
from typing import NewType

from appliance.errors import InvalidInput

ModelName = NewType("ModelName", str)
ModelVersion = NewType("ModelVersion", int)
Digest = NewType("Digest", str)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LARGEST_VERSION = 2**63 - 1


def parse_model_name(text: str) -> ModelName:
    """Read a model name: a letter or digit, then up to 127 letters, digits, dots, dashes, underscores.

    Such a name is also a safe file name. Raises InvalidInput otherwise.
    """
    if not _NAME.fullmatch(text):
        raise InvalidInput(
            f"invalid model name {text[:140]!r}: expected a letter or digit, then at most 127 of A-Z a-z 0-9 . _ -"
        )
    return ModelName(text)


def parse_model_version(text: str) -> ModelVersion:
    """Read a version as it stands in a directory name or a command line: an integer from 1 to 2^63-1."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:20]) <= _LARGEST_VERSION or text[0] == "0":
        raise InvalidInput(f"invalid model version {text[:40]!r}: expected a whole number, 1 or more")
    return ModelVersion(int(text))


def parse_digest(text: str) -> Digest:
    """Read a content digest such as `sha256:<64 hex digits>`."""
    if not _DIGEST.fullmatch(text):
        raise InvalidInput(f"invalid digest {text[:80]!r}: expected sha256: and 64 lower-case hex digits")
    return Digest(text)


def digest_of_hex(hex_digits: str) -> Digest:
    """Name the content whose SHA-256 is `hex_digits`."""
    return parse_digest(f"sha256:{hex_digits}")


def digest_hex(digest: Digest) -> str:
    """Return the hex digits of a digest (the blob's file name)."""
    return digest.removeprefix("sha256:")
