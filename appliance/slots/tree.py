"""A software tree: `site/` (what Python imports), `software.json` (what it is), `FILES.sha256` (its files' digests).

The list has the form of sha256sum, so that a person can check a tree without us: `sha256sum --check FILES.sha256`.
Its own digest names the tree. Invariant: a whole tree has exactly the listed files, and no links.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from appliance.durable import hash_file
from appliance.errors import InvalidInput

FILE_LIST = "FILES.sha256"
DESCRIPTION = "software.json"
SITE = "site"
INSTALLATION = f"{SITE}/appliance-installation"  # what a bare box needs around its slots, as it lies below /
VARIANTS = ("cpu", "gpu")
_SCHEMA = 1
_LINE = re.compile(r"([0-9a-f]{64})  ([^\n]+)")
_VERSION = re.compile(r"\d{1,6}\.\d{1,6}\.\d{1,6}")
_PYTHON = re.compile(r"3\.\d{1,3}")

CountFile = Callable[[str], None]


def ignore_file(_: str) -> None:
    """The CountFile of a caller who does not want to know."""


@dataclass(frozen=True, slots=True)
class Software:
    """What a tree is. python: '3.11'. machine: as `uname -m`. data_epoch: form of the state that it writes.

    variant: "gpu" with CUDA's runtime, else "cpu".
    """

    version: str
    python: str
    machine: str
    data_epoch: int
    variant: str = "cpu"

    @property
    def kind(self) -> str:
        """For which boxes it is, in words."""
        return f"Python {self.python} on {self.machine}, {self.variant}"

    def to_bytes(self) -> bytes:
        """Write `software.json`."""
        document = {
            "schema": _SCHEMA,
            "version": self.version,
            "python": self.python,
            "machine": self.machine,
            "data_epoch": self.data_epoch,
            "variant": self.variant,
        }
        return json.dumps(document, sort_keys=True).encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes) -> "Software":
        """Read `software.json`. Raises InvalidInput with the field."""
        try:
            document = json.loads(data)
            schema = document.pop("schema")
            software = cls(**document)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InvalidInput(f"{DESCRIPTION}: {type(error).__name__}: {error}") from error
        for field, value, good in (
            ("schema", schema, schema == _SCHEMA),
            ("version", software.version, _matches(_VERSION, software.version)),
            ("python", software.python, _matches(_PYTHON, software.python)),
            ("machine", software.machine, isinstance(software.machine, str) and software.machine.isidentifier()),
            ("variant", software.variant, software.variant in VARIANTS),
            ("data_epoch", software.data_epoch, type(software.data_epoch) is int and software.data_epoch > 0),
        ):
            if not good:
                raise InvalidInput(f"{DESCRIPTION}: {field} is {value!r}")
        return software


def read_software(tree: Path) -> Software:
    """Say what a tree is. Raises InvalidInput if it does not say so itself."""
    try:
        return Software.parse((tree / DESCRIPTION).read_bytes())
    except OSError as error:
        raise InvalidInput(f"{tree / DESCRIPTION} cannot be read: {error.strerror}") from error


def tree_digest(tree: Path) -> str:
    """Name a tree by its list of files: SHA-256 in hex, '' if it has no list."""
    try:
        return hash_file(tree / FILE_LIST)
    except OSError:
        return ""


def write_file_list(tree: Path) -> str:
    """List a tree's files with their digests; returns the tree's name. Raises InvalidInput for what is no file."""
    lines = [f"{hash_file(tree / path)}  {path}\n" for path in sorted(_files(tree)) if path != FILE_LIST]
    data = "".join(lines).encode()
    (tree / FILE_LIST).write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def parse_file_list(data: bytes) -> Mapping[str, str]:
    """Read a list: relative path -> SHA-256 in hex. Raises InvalidInput for a path that could leave the tree."""
    listed: dict[str, str] = {}
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{FILE_LIST} is not UTF-8") from error
    for number, line in enumerate(text.splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None or match[2] in listed or not _is_inside(match[2]):
            raise InvalidInput(f"{FILE_LIST} line {number}: {line[:120]!r} is no digest with the path of a file")
        listed[match[2]] = match[1]
    return listed


def check_tree(tree: Path, expected: str, count: CountFile = ignore_file) -> str:
    """Say in a sentence what is wrong with a tree, '' if all of it is there and nothing else is.

    expected: the tree's name. `count` hears of each file before it is read.
    """
    found = tree_digest(tree)
    if found != expected:
        return f"{tree / FILE_LIST} has digest {found[:16] or 'none'}, expected {expected[:16]}"
    try:
        listed = parse_file_list((tree / FILE_LIST).read_bytes())
        for path, digest in listed.items():
            count(path)
            if (now := hash_file(tree / path)) != digest:
                return f"{tree / path} has changed: digest {now[:16]}, expected {digest[:16]}"
        foreign = next((path for path in _files(tree) if path not in listed and path != FILE_LIST), "")
    except InvalidInput as error:
        return error.message
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}"
    return f"{tree / foreign} does not belong there" if foreign else ""


def _files(tree: Path) -> Iterator[str]:
    """Yield the relative path of every file. Raises InvalidInput for links and devices, OSError."""
    pending = [""]
    while pending:
        directory = pending.pop()
        with os.scandir(tree / directory) as entries:
            for entry in entries:
                relative = f"{directory}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    pending.append(f"{relative}/")
                elif entry.is_file(follow_symlinks=False):
                    yield relative
                else:
                    raise InvalidInput(f"{tree / relative} is neither a file nor a directory")


def _is_inside(path: str) -> bool:
    parts = path.split("/")
    return "\\" not in path and all(part not in ("", ".", "..") for part in parts) and parts[0] in (SITE, DESCRIPTION)


def _matches(form: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and form.fullmatch(value) is not None
