"""Operator settings: read once from TOML, environment and command line, validated, frozen, passed down by slice.

Settings in the environment are read here and nowhere else. Order of precedence: command line, environment
(`APPLIANCE_<TABLE>_<FIELD>`), file, the site's signed settings, defaults.
"""

import logging
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from appliance.errors import InvalidInput
from appliance.listen_address import parse_listen_address
from appliance.state_layout import SYSTEM_STATE_DIRECTORY, StateLayout

logger = logging.getLogger(__name__)

SYSTEM_SETTINGS_FILE = Path("/etc/appliance/appliance.toml")
SITE_SETTINGS_FILE = "site.toml"  # in the state directory's `updates/`: what a signed bundle brought
SIGNED_FOR_THIS_DEVICE: Final = "signed-for-this-device"
_NOT_FOR_SITES = ("state_directory", "runtime_directory", "models_directory")  # where things lie is the box's own
INT32_MAX = 2**31 - 1

Seconds = Annotated[float, Field(gt=0, le=10**9)]  # transports count milliseconds in 64 bits


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(_Table):
    """`[server]`: where and how the appliance listens."""

    name: str = "appliance"
    listen: tuple[str, ...] = ("127.0.0.1:8001",)
    transport: Literal["grpcio", "native", "auto"] = "auto"  # auto: native where its extension is installed
    io_threads: Annotated[int, Field(ge=0, le=64)] = 0  # of the native transport; 0: by the number of processors
    # What requests may hold while they come and wait, on the native transport; 0: half of the machine's memory.
    request_memory_bytes: Annotated[int, Field(ge=0)] = 0
    tls_certificate: Path | None = None  # PEM, with what leads to its authority; of all TCP listeners
    tls_key: Path | None = None  # PEM
    tls_client_authorities: Path | None = None  # PEM; clients must then show a certificate of one of these
    reflection: bool = True
    max_message_bytes: Annotated[int, Field(ge=1024, le=INT32_MAX)] = 256 * 1024 * 1024
    max_concurrent_requests: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    drain_timeout_s: Seconds = 30
    keepalive_time_s: Seconds = 7200
    keepalive_timeout_s: Seconds = 20
    min_ping_interval_s: Seconds = 300
    permit_keepalive_without_calls: bool = True

    @field_validator("listen")
    @classmethod
    def _check_listen(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            parse_listen_address(address)
        return value

    @model_validator(mode="after")
    def _check_memory(self) -> Self:
        if self.request_memory_bytes and self.request_memory_bytes < self.max_message_bytes:
            raise ValueError(
                f"request_memory_bytes is {self.request_memory_bytes}, expected at least max_message_bytes "
                f"({self.max_message_bytes}), or 0"
            )
        return self

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together: name both or none")
        if self.tls_client_authorities is not None and self.tls_certificate is None:
            raise ValueError("tls_client_authorities needs tls_certificate and tls_key")
        return self


class ModelSettings(_Table):
    """`[models]`: how models are loaded."""

    repository_control: bool = True  # RepositoryModelLoad / Unload over gRPC
    load_threads: Annotated[int, Field(ge=1, le=64)] = 4
    load_timeout_s: Seconds = 600  # a load that takes longer at the start counts as hung; builds of engines do not
    hung_after_s: Seconds = 60  # an execution that takes longer, and ten times the longest before it, counts as hung
    load_attempts: Annotated[int, Field(ge=1)] = 2  # crashes while loading one version before it is refused
    import_memory_bytes: Annotated[int, Field(ge=256 * 1024 * 1024)] = 4 * 1024 * 1024 * 1024
    import_timeout_s: Seconds = 300


class EngineSettings(_Table):
    """`[engines]`: how TensorRT engines are built, and how many are kept."""

    largest_bytes: Annotated[int, Field(ge=0)] = 20 * 1024 * 1024 * 1024  # all engines together
    build_memory_bytes: Annotated[int, Field(ge=256 * 1024 * 1024)] = 8 * 1024 * 1024 * 1024
    build_timeout_s: Seconds = 3600
    flavour: Annotated[str, Field(pattern="^(auto|tensorrt|tensorrt-rtx)$")] = "auto"
    optimization_level: Annotated[int, Field(ge=0, le=5)] | None = None  # None: TensorRT's default


class GpuSettings(_Table):
    """`[gpu]`: which GPU computes."""

    uuid: str = ""  # as nvidia-smi -L shows it, or its beginning; for models that name none. Empty: the first


class UpdateSettings(_Table):
    """`[updates]`: what the box does with a bundle while nobody stands before it."""

    auto_apply: Literal["never", "signed-for-this-device"] = "never"


class LogSettings(_Table):
    """`[log]`: what goes to standard error (the journal)."""

    level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = "INFO"
    format: Annotated[str, Field(pattern="^(text|json)$")] = "text"


class Settings(_Table):
    """Everything an operator can set."""

    state_directory: Path | None = None
    runtime_directory: Path | None = None  # sockets and locks
    models_directory: Path | None = None  # serve this directory directly, without the registry (development)
    server: ServerSettings = ServerSettings()
    models: ModelSettings = ModelSettings()
    engines: EngineSettings = EngineSettings()
    gpu: GpuSettings = GpuSettings()
    updates: UpdateSettings = UpdateSettings()
    log: LogSettings = LogSettings()

    @property
    def layout(self) -> StateLayout:
        """Where everything is kept."""
        return StateLayout(self.state_directory or default_state_directory(), self.runtime_directory)


def default_state_directory() -> Path:
    """Return `/var/lib/appliance` where it exists (an installed box), else `./.appliance` (a developer)."""
    return SYSTEM_STATE_DIRECTORY if SYSTEM_STATE_DIRECTORY.is_dir() else Path(".appliance")


def load_settings(
    file: Path | None = None, overrides: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """Read the settings. A file that was named must exist; `/etc/appliance/appliance.toml` may be absent.

    Raises InvalidInput with file, field and reason.
    """
    environment = os.environ if environment is None else environment
    document = _read_file(file)
    _merge(document, _from_environment(environment))
    _merge(document, dict(overrides or {}))
    layout = StateLayout(Path(document.get("state_directory") or default_state_directory()))
    document = _over_site_settings(layout.updates / SITE_SETTINGS_FILE, document)
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        raise InvalidInput(
            f"{file or 'settings'}: {_first_problem(error)}",
            hint="all settings and their defaults: README, section 'Settings'",
        ) from error


def check_site_settings(data: bytes, where: str) -> None:
    """Check settings that a bundle brings: by themselves they must be valid. Raises InvalidInput."""
    try:
        document = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"{where} is not valid TOML: {error}") from error
    for name in _NOT_FOR_SITES:
        if name in document:
            raise InvalidInput(f"{where}: {name} is not for a site to say")
    try:
        Settings.model_validate(document)
    except ValidationError as error:
        raise InvalidInput(f"{where}: {_first_problem(error)}") from error


def _read_file(file: Path | None) -> dict[str, Any]:
    path = file or SYSTEM_SETTINGS_FILE
    try:
        with path.open("rb") as stream:
            return tomllib.load(stream)
    except FileNotFoundError:
        if file is None:
            return {}
        raise InvalidInput(f"settings file {path} does not exist", hint="name another with --config FILE") from None
    except OSError as error:
        raise InvalidInput(f"settings file {path} cannot be read: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"settings file {path} is not valid TOML: {error}") from error


def _over_site_settings(path: Path, document: dict[str, Any]) -> dict[str, Any]:
    """Lay what the box itself says over what its site says.

    A damaged file is left out, loudly: the box has to serve, and to take the stick that brings it again.
    """
    try:
        data = path.read_bytes()
        check_site_settings(data, str(path))
    except FileNotFoundError:
        return document
    except PermissionError:
        unread = "this user cannot read the site's settings, which are left out: %s (sudo appliance doctor)"
        logger.warning(unread, path)
        return document
    except (OSError, InvalidInput) as error:
        logger.error("the site's settings are left out: %s (bring them again: appliance update apply MEDIUM)", error)  # noqa: TRY400
        return document
    site = tomllib.loads(data.decode())
    _merge(site, document)
    return site


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}"


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Collect `APPLIANCE_STATE_DIRECTORY`, `APPLIANCE_SERVER_LISTEN` (comma separated), and so on."""
    document: dict[str, Any] = {}
    for name, field in Settings.model_fields.items():
        table = field.annotation
        if isinstance(table, type) and issubclass(table, _Table):
            for inner in table.model_fields:
                value = environment.get(f"APPLIANCE_{name}_{inner}".upper())
                if value is not None:
                    document.setdefault(name, {})[inner] = value.split(",") if inner == "listen" else value
        elif (value := environment.get(f"APPLIANCE_{name}".upper())) is not None:
            document[name] = value
    return document


def _merge(document: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(document.get(key), dict):
            _merge(document[key], value)
        else:
            document[key] = value
