"""A model package as a person lays it out; a model of a Triton repository is one as it is.

    <name>/model.toml or config.pbtxt, labels.txt, card.md, provenance.json, golden/...   shared by all versions
    <name>/<version>/model.onnx, model.onnx.data, ...                                    one version's own

Reading changes nothing and trusts nothing: every refusal is an InvalidInput that names the file.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.errors import InvalidInput
from appliance.model.config import ModelConfig
from appliance.model.config_text import config_from_pbtxt, config_from_toml
from appliance.model.identity import ModelName, ModelVersion, parse_model_name, parse_model_version
from appliance.registry.package_files import PackageFile, list_package_files, read_package_text

CONFIG_TOML = "model.toml"
CONFIG_PBTXT = "config.pbtxt"
DEFAULT_MODEL_FILE = "model.onnx"
UNKNOWN_LICENCE = "unknown"
_CARD = "card.md"
_PROVENANCE = "provenance.json"
_CARD_LICENCE = re.compile(r"^licen[cs]e:[ \t]*(\S[^\r\n]*)$", re.MULTILINE)
_LONGEST_LICENCE = 200


@dataclass(frozen=True, slots=True)
class PackageVersion:
    """One version: what is below `<version>/` and every shared file, by path relative to the package."""

    version: ModelVersion
    model_file: str
    files: Mapping[str, PackageFile]

    @property
    def size_bytes(self) -> int:
        """All its files together."""
        return sum(file.size_bytes for file in self.files.values())


@dataclass(frozen=True, slots=True)
class Package:
    """All of one model that a package directory holds."""

    name: ModelName
    config: ModelConfig
    config_file: str  # '' when there is none and all is left to the model file
    config_text: str
    directory: Path
    versions: Mapping[ModelVersion, PackageVersion]  # oldest first, at least one
    licence: str
    provenance: Mapping[str, Any] | None


def read_package(directory: Path, name: ModelName | None = None) -> Package:
    """Read a package. Its name is the directory's name unless `name` says otherwise. Raises InvalidInput."""
    directory = Path(os.path.abspath(directory))  # noqa: PTH100  # Path.absolute keeps a final '.', which names nothing
    if directory.is_symlink():
        raise InvalidInput(
            f"{directory} is a symbolic link", hint=f"name the directory itself: {directory.resolve()}"
        )
    if not directory.is_dir():
        raise InvalidInput(f"{directory} is not a directory", hint="name the directory that holds model.toml")
    name = name or parse_model_name(directory.name)
    files = list_package_files(directory)
    config_file, config_text, config = read_config(files, name, str(directory))
    _check_files_of_config(config, files, directory)
    provenance = _provenance(files)
    return Package(
        name=name,
        config=config,
        config_file=config_file,
        config_text=config_text,
        directory=directory,
        versions=_versions(files, config, directory),
        licence=_licence(config, provenance, files),
        provenance=provenance,
    )


def read_models_directory(directory: Path) -> dict[str, Package | str]:
    """Read every package of a models directory: directory name -> package, or the text of what is wrong with it.

    Hidden directories and plain files are no packages. Raises InvalidInput only if there is no such directory.
    """
    try:
        entries = sorted(entry for entry in directory.iterdir() if not entry.name.startswith(".") and entry.is_dir())
    except OSError as error:
        raise InvalidInput(f"models directory {directory} cannot be read: {error.strerror}") from error
    return {ascii_name(entry.name): _package_or_problem(entry) for entry in entries}


def ascii_name(text: str) -> str:
    """Return a file name so that it can be shown and sent anywhere (a name may be any bytes)."""
    return text if text.isprintable() else ascii(text)[1:-1]


def read_config(files: Mapping[str, PackageFile], name: ModelName, where: str) -> tuple[str, str, ModelConfig]:
    """Return the configuration's file name, its text, and what it says; an empty one if the package has none."""
    present = [file for file in (CONFIG_TOML, CONFIG_PBTXT) if file in files]
    if len(present) > 1:
        raise InvalidInput(
            f"{where} has both {CONFIG_TOML} and {CONFIG_PBTXT}, expected one", hint=f"keep {CONFIG_TOML}"
        )
    if not present:
        return "", "", ModelConfig()
    text = read_package_text(files[present[0]].path)
    return present[0], text, parse_config(present[0], text, name, where)


def parse_config(file: str, text: str, name: ModelName, where: str) -> ModelConfig:
    """Parse a configuration by its file name ('' is the empty one); it must be meant for this model."""
    if not file:
        return ModelConfig()
    parse = config_from_toml if file == CONFIG_TOML else config_from_pbtxt
    config = parse(text, f"{where}/{file}")
    if config.name and config.name != name:
        raise InvalidInput(
            f"{where}/{file}: name is '{config.name}', expected '{name}' (the directory's name)",
            hint="leave 'name' out or rename the directory",
        )
    return config


def _package_or_problem(directory: Path) -> Package | str:
    try:
        return read_package(directory)
    except InvalidInput as error:
        return str(error)


def _versions(
    files: Mapping[str, PackageFile], config: ModelConfig, directory: Path
) -> dict[ModelVersion, PackageVersion]:
    numbers = sorted(_version_directories(files))
    if not numbers:
        has_config = any(file in files for file in (CONFIG_TOML, CONFIG_PBTXT))
        found = "no version directory" if has_config else f"neither {CONFIG_TOML} or {CONFIG_PBTXT} nor a version"
        raise InvalidInput(f"{directory} has {found}", hint=f"expected the model at {directory}/1/{_wanted(config)}")
    shared = {path: file for path, file in files.items() if not _is_version(path)}
    return {version: _version(version, files, shared, config, directory) for version in numbers}


def _version(
    version: ModelVersion,
    files: Mapping[str, PackageFile],
    shared: Mapping[str, PackageFile],
    config: ModelConfig,
    directory: Path,
) -> PackageVersion:
    own = {path: file for path, file in files.items() if path.startswith(f"{version}/")}
    wanted = _wanted(config)
    # Triton's ONNX Runtime backend also takes a directory of that name, for a model with external data.
    for model_file in (f"{version}/{wanted}", f"{version}/{wanted}/{DEFAULT_MODEL_FILE}"):
        if model_file in own:
            return PackageVersion(version, model_file, dict(sorted({**own, **shared}.items())))
    found = ", ".join(path.partition("/")[2] for path in list(own)[:5])
    raise InvalidInput(
        f"{directory}/{version} has no {wanted}, found {found}",
        hint="models are ONNX files; 'default_model_filename' names another file",
    )


def _version_directories(files: Mapping[str, PackageFile]) -> set[ModelVersion]:
    return {parse_model_version(path.partition("/")[0]) for path in files if _is_version(path)}


def _is_version(path: str) -> bool:
    first, slash, _ = path.partition("/")
    return bool(slash) and first.isascii() and first.isdigit()


def _wanted(config: ModelConfig) -> str:
    return config.default_model_filename or DEFAULT_MODEL_FILE


def _check_files_of_config(config: ModelConfig, files: Mapping[str, PackageFile], directory: Path) -> None:
    """What the configuration names must be there now, not at the first request."""
    if "/" in config.default_model_filename:
        raise InvalidInput(
            f"{directory}: default_model_filename '{config.default_model_filename}' is not a file name"
        )
    for output in config.output:
        if output.label_filename and output.label_filename not in files:
            raise InvalidInput(
                f"{directory}: label file '{output.label_filename}' of output '{output.name}' is missing",
                hint=f"expected {directory}/{output.label_filename}",
            )


def _provenance(files: Mapping[str, PackageFile]) -> dict[str, Any] | None:
    if _PROVENANCE not in files:
        return None
    path = files[_PROVENANCE].path
    try:
        document = json.loads(read_package_text(path))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidInput(f"{path} holds a JSON {type(document).__name__}, expected an object")
    return document


def _licence(config: ModelConfig, provenance: Mapping[str, Any] | None, files: Mapping[str, PackageFile]) -> str:
    """From the configuration, else from where the model came, else from the head of its card."""
    stated = config.licence or _text(provenance, "licence") or _text(provenance, "license") or _card_licence(files)
    return stated.strip()[:_LONGEST_LICENCE] or UNKNOWN_LICENCE


def _text(document: Mapping[str, Any] | None, key: str) -> str:
    value = (document or {}).get(key)
    return value if isinstance(value, str) else ""


def _card_licence(files: Mapping[str, PackageFile]) -> str:
    """Hugging Face's way: a line of the YAML between two `---` at the top of the card."""
    text = read_package_text(files[_CARD].path) if _CARD in files else ""
    if not text.startswith("---"):
        return ""
    found = _CARD_LICENCE.search(text.partition("---")[2].partition("\n---")[0])
    return found.group(1).strip("\"' \t") if found else ""
