"""The settings, by an allow-list of their names: of every other one only the name leaves the box.

Each file is read as it stands, so that one that is not valid can be looked at. Settings in the environment are not
read: those in force are in the daemon's status.
"""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from appliance.maintenance.support.allow_list import WITHHELD
from appliance.maintenance.support.part import Content, json_content

ALLOWED = frozenset(
    {
        *("state_directory", "runtime_directory", "models_directory"),
        *(
            f"server.{name}"
            for name in (
                *("name", "listen", "transport", "io_threads", "request_memory_bytes", "reflection"),
                *("tls_certificate", "tls_key", "tls_client_authorities"),  # paths
                *("max_message_bytes", "max_concurrent_requests", "drain_timeout_s"),
                *("keepalive_time_s", "keepalive_timeout_s", "min_ping_interval_s", "permit_keepalive_without_calls"),
            )
        ),
        *(
            f"models.{name}"
            for name in (
                *("repository_control", "load_threads", "load_timeout_s", "hung_after_s", "load_attempts"),
                *("import_memory_bytes", "import_timeout_s"),
            )
        ),
        *(
            f"engines.{name}"
            for name in ("largest_bytes", "build_memory_bytes", "build_timeout_s", "flavour", "optimization_level")
        ),
        *("gpu.uuid", "updates.auto_apply", "log.level", "log.format"),
    }
)


def settings_content(files: Mapping[str, Path]) -> Content:
    """Describe the files. files: what each is for -> where it lies."""
    return json_content({what: {"file": str(path)} | _read(path) for what, path in files.items()})


def allowed_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the values of the settings that are written down above. values: `table.key` -> value."""
    return {name: value if name in ALLOWED else WITHHELD for name, value in sorted(values.items())}


def _read(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError:
        return {"settings": {}, "problem": "there is no such file"}
    except OSError as error:
        return {"problem": f"it cannot be read: {error.strerror}"}
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return {"problem": f"it is not valid TOML{_line_of(error)}"}
    return {"settings": allowed_settings(dict(_flat(document)))}


def _flat(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, str | int | float | bool) or (
            isinstance(value, list) and all(isinstance(item, str | int | float | bool) for item in value)
        ):
            yield f"{prefix}{name}", value
        else:
            yield f"{prefix}{name}", WITHHELD


def _line_of(error: Exception) -> str:
    """Say where, without the words of the parser, which may quote the file."""
    _, _, place = str(error).rpartition("(at ")
    return f" (at {place}" if place.startswith(("line ", "end ")) else ""
