"""Names on a medium: where everything lies in a bundle, and which role signs what.

APPLIANCE-UPDATE/
hint.json                 unsigned; for messages only, never trusted
metadata/                 TUF: every N.root.json, timestamp.json, S.snapshot.json, T.targets.json, V.<role>.json
targets/                  small files, named <directory>/<sha256>.<name>
oci/                      an OCI image layout with everything big, in parts of at most 256 MiB (FAT32)
"""

import re

from appliance.errors import InvalidInput
from appliance.model.identity import ModelName, ModelVersion

PRODUCT = "appliance"
LAYOUT_VERSION = 1

BUNDLE_DIRECTORY = "APPLIANCE-UPDATE"
HINT_FILE = "hint.json"
METADATA_DIRECTORY = "metadata"
TARGETS_DIRECTORY = "targets"
OCI_DIRECTORY = "oci"
BLOBS_DIRECTORY = "oci/blobs/sha256"
RECEIPTS_DIRECTORY = "RECEIPTS"  # beside the bundle, written by boxes

LARGEST_TARGET_BYTES = 4 * 1024 * 1024
LARGEST_PART_BYTES = 256 * 1024 * 1024
MOST_TARGETS = 5_000
MOST_ROOTS = 256
MOST_DELEGATIONS = 200

TICKET_TARGET = "tickets/ticket.json"  # one bundle carries one ticket
POLICY_TARGET = "policy/policy.json"

TICKETS_ROLE = "tickets"
SOFTWARE_ROLE = "software"
SOFTWARE_PATHS = "software/*/*"
MODELS_ROLE_PREFIX = "models-"
CONFIG_ROLE_PREFIX = "config-"

_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def parse_label(text: str, what: str) -> str:
    """Read the name of a publisher, site, group or configuration: lower-case letters, digits, dashes; at most 63.

    Such a name means the same on every file system. Raises InvalidInput.
    """
    if not _LABEL.fullmatch(text):
        raise InvalidInput(f"invalid name of a {what}: {text[:80]!r}: expected at most 63 of a-z 0-9 -")
    return text


def models_role(publisher: str) -> str:
    """Name the role that signs a publisher's models."""
    return MODELS_ROLE_PREFIX + parse_label(publisher, "publisher")


def models_paths(publisher: str) -> str:
    """Give the targets that this role may sign ('*' does not cross '/')."""
    return f"models/{parse_label(publisher, 'publisher')}/*/*"


def config_role(site: str) -> str:
    """Name the role that signs a site's configuration."""
    return CONFIG_ROLE_PREFIX + parse_label(site, "site")


def config_paths(site: str) -> str:
    """Give the targets that this role may sign."""
    return f"config/{parse_label(site, 'site')}/*"


def model_target(publisher: str, name: ModelName, version: ModelVersion) -> str:
    """Name the target that holds the manifest of a model version."""
    return f"models/{parse_label(publisher, 'publisher')}/{name}/{version}.json"


def config_target(site: str, name: str) -> str:
    """Name the target that holds settings for a site."""
    return f"config/{parse_label(site, 'site')}/{parse_label(name, 'configuration')}.toml"


def software_target(version: str, python: str, machine: str, variant: str) -> str:
    """Name the target that holds the manifest of a release of this software for one kind of box."""
    return f"software/{PRODUCT}/{version}-py{python}-{machine}-{variant}.json"


def hashed_target(target: str, hex_digits: str) -> str:
    """Return where a target lies below `targets/` (TUF's consistent snapshots: named by its SHA-256)."""
    directory, _, name = target.rpartition("/")
    return f"{directory}/{hex_digits}.{name}" if directory else f"{hex_digits}.{name}"


def check_target_path(path: str) -> str:
    """Return a target path that is safe as a file name everywhere. Raises InvalidInput.

    TUF itself signs anything, `../../x` included.
    """
    parts = path.split("/")
    if len(path) > 512 or any(not _SAFE_PART.fullmatch(part) or part.strip(".") == "" for part in parts):  # noqa: PLR2004
        raise InvalidInput(
            f"unsafe target path {path[:200]!r}: expected parts of A-Z a-z 0-9 . _ - between '/', none of them '..'"
        )
    return path


_SAFE_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
