"""`appliance models`: which models are on this box, and which of their versions are served."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from appliance.cli import models_upkeep
from appliance.cli.options import ConfigOption, JsonOption, StateOption, read_settings
from appliance.cli.output import format_size, print_facts, print_json, print_table, print_text, progress, say
from appliance.cli.registry_access import counted, open_registry
from appliance.model.identity import parse_model_name, parse_model_version
from appliance.settings import Settings

if TYPE_CHECKING:
    from appliance.registry.model_registry import ModelRegistry
    from appliance.registry.records import RegisteredVersion

app = typer.Typer(help="Add, activate and examine models.", no_args_is_help=True, rich_markup_mode=None)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the model.", show_default=False)]
VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="Its version.", show_default=False)]


@app.command()
def add(
    packages: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Directories of model packages.")],
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Store model packages in the registry. Each new version is tried first; nothing is served yet."""
    from appliance.cli.registry_documents import version_document  # noqa: PLC0415  (heavy: not for --help)
    from appliance.registry.model_registry import ModelRegistry  # noqa: PLC0415

    settings = read_settings(config, state)
    added: list[RegisteredVersion] = []
    try:
        with ModelRegistry.open(settings.layout) as registry:
            for directory in packages:
                added += _add(registry, directory, settings)
    finally:  # what was added before an error stays
        if as_json:
            print_json([version_document(version, []) | {"added": not version.already_there} for version in added])
        elif added:
            _show_added(added)
    for name in dict.fromkeys(version.name for version in added):
        newest = max(version.version for version in added if version.name == name)
        say(f"next: appliance models activate {name} {newest}")


@app.command("list")
def list_models(config: ConfigOption = None, state: StateOption = None, *, as_json: JsonOption = False) -> None:
    """Show every model and version in the registry."""
    from appliance.cli.registry_documents import aliases_of, model_document, time_text  # noqa: PLC0415

    layout = read_settings(config, state).layout
    models, lost = [], layout.blobs.is_dir() and not layout.database.exists()
    if layout.database.exists():
        with open_registry(layout) as registry:
            models = registry.models()
            lost = bool(registry.lost_versions())
    if as_json:
        print_json([model_document(model) for model in models])
        return
    if not models:
        say(
            f"there are no models in {layout.root}" + (", but stored files are: registry.db was lost" if lost else "")
        )
        say("next: appliance models rebuild" if lost else "next: appliance models add DIR")
        return
    rows = [
        (
            model.name,
            version.version,
            ", ".join(aliases_of(model, version)),
            format_size(version.size_bytes),
            time_text(version.added_at)[:10],
            version.licence,
        )
        for model in models
        for version in model.versions.values()
    ]
    print_table(("MODEL", "VERSION", "ALIASES", "SIZE", "ADDED", "LICENCE"), rows, right=("VERSION", "SIZE"))


@app.command()
def show(
    name: NameArgument, config: ConfigOption = None, state: StateOption = None, *, as_json: JsonOption = False
) -> None:
    """Show everything about one model: versions, inputs and outputs, where it came from, its history."""
    from appliance.cli.registry_documents import model_document  # noqa: PLC0415

    with open_registry(read_settings(config, state).layout) as registry:
        document = model_document(registry.model(parse_model_name(name)))
    if as_json:
        print_json(document)
    else:
        _show_model(document)


@app.command()
def activate(
    name: NameArgument,
    version: VersionArgument,
    alias: Annotated[str, typer.Option(metavar="ALIAS", help="Name by which clients may ask for it.")] = "serving",
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Let an alias point at a version, so that it is served; 'serving' answers requests without a version."""
    from appliance.cli import audited, daemon_follows  # noqa: PLC0415

    layout = read_settings(config, state).layout
    number = parse_model_version(version)
    with open_registry(layout) as registry:
        registry.activate(parse_model_name(name), number, alias=alias)
    audited.write_activation(layout, {"model": name, "version": number, "alias": alias})
    say(f"'{name}' version {number} is {alias}")
    followed = daemon_follows.let_daemon_follow(layout, name)
    daemon_follows.show(followed, as_json=as_json)
    daemon_follows.check_ready(followed, name, number)


@app.command()
def deactivate(
    name: NameArgument,
    alias: Annotated[str | None, typer.Option(metavar="ALIAS", help="Take only this alias away.")] = None,
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Take an alias away, or all of them: versions without one are no longer served."""
    from appliance.cli import audited, daemon_follows  # noqa: PLC0415
    from appliance.updates.audit_entry import AuditEvent  # noqa: PLC0415

    layout = read_settings(config, state).layout
    with open_registry(layout) as registry:
        registry.deactivate(parse_model_name(name), alias=alias)
    audited.write_down(layout, AuditEvent.MODEL_DEACTIVATED, {"model": name, "alias": alias or "all"})
    say(f"'{name}' has no alias {alias} any more" if alias else f"'{name}' is no longer active")
    daemon_follows.show(daemon_follows.let_daemon_follow(layout, name), as_json=as_json)


@app.command()
def remove(
    name: NameArgument,
    version: VersionArgument,
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Forget a version that is not active. Its files are deleted by 'appliance models gc'."""
    from appliance.cli import audited, daemon_follows  # noqa: PLC0415
    from appliance.updates.audit_entry import AuditEvent  # noqa: PLC0415

    layout = read_settings(config, state).layout
    number = parse_model_version(version)
    with open_registry(layout) as registry:
        registry.remove(parse_model_name(name), number)
    audited.write_down(layout, AuditEvent.MODEL_REMOVED, {"model": name, "version": number})
    say(f"'{name}' version {number} is removed; delete its files with: appliance models gc")
    daemon_follows.show(daemon_follows.let_daemon_follow(layout, name), as_json=as_json)


@app.command()
def export(
    name: NameArgument,
    version: VersionArgument,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Directory to put it into, as DIR/NAME.")],
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Write a version out as a package directory, as 'models add' takes it."""
    with open_registry(read_settings(config, state).layout) as registry:
        path = registry.export(parse_model_name(name), parse_model_version(version), to)
    if as_json:
        print_json({"path": str(path)})
    else:
        typer.echo(path)  # unwrapped: scripts take it as it is


app.command()(models_upkeep.verify)
app.command()(models_upkeep.scrub)
app.command()(models_upkeep.gc)
app.command()(models_upkeep.rebuild)


def _add(registry: "ModelRegistry", directory: Path, settings: Settings) -> list["RegisteredVersion"]:
    from appliance.registry.package import read_package  # noqa: PLC0415
    from appliance.updates.trial_check import trial_check  # noqa: PLC0415

    package = read_package(directory)
    with progress() as advance:
        return registry.add(package, check=trial_check(package.name, settings.models), progress=advance)


def _show_added(added: "list[RegisteredVersion]") -> None:
    rows = [
        (
            version.name,
            version.version,
            format_size(version.size_bytes),
            version.digest[:19],
            "already there" if version.already_there else "added",
        )
        for version in added
    ]
    print_table(("MODEL", "VERSION", "SIZE", "DIGEST", "RESULT"), rows, right=("VERSION", "SIZE"))


def _show_model(document: dict[str, Any]) -> None:
    aliases = ", ".join(f"{alias} = {version}" for alias, version in document["aliases"].items())
    print_facts([("model", document["name"]), ("aliases", aliases or "none: not served")])
    for version in document["versions"]:
        print_text("")
        print_facts(_version_facts(version))
    if document["history"]:
        print_text("")
        rows = [
            (change["at"], change["alias"], change["previous"] or "-", change["version"] or "-")
            for change in document["history"]
        ]
        print_table(("WHEN", "ALIAS", "FROM", "TO"), rows)


def _version_facts(version: dict[str, Any]) -> list[tuple[str, object]]:
    tensors = [
        (kind, f"{tensor['name']} {tensor['datatype']} {tensor['shape']}{' optional' * tensor['optional']}")
        for kind, key in (("input", "inputs"), ("output", "outputs"))
        for tensor in version[key]
    ]
    load = version["last_load"]
    outcome = "never loaded" if load is None else load["problem"] or f"loaded {load['finished_at'] or 'now'}"
    return [
        ("version", version["version"]),
        ("digest", version["digest"]),
        ("size", f"{format_size(version['size_bytes'])} in {counted(len(version['files']), 'file')}"),
        ("added", version["added_at"]),
        ("licence", version["licence"]),
        *tensors,
        ("loading", outcome),
    ]
