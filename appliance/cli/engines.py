"""`appliance engines`: TensorRT engines of this box. They are derived from models, and can be built again."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appliance.cli.options import ConfigOption, JsonOption, StateOption, read_settings
from appliance.cli.output import format_size, print_facts, print_json, print_table, print_text, say
from appliance.errors import InvalidInput, NotFound
from appliance.settings import Settings

if TYPE_CHECKING:
    from appliance.backends.tensorrt.engine_store import EngineStore
    from appliance.model.engine import EngineRecord

app = typer.Typer(help="Build, list and remove TensorRT engines.", no_args_is_help=True, rich_markup_mode=None)

_KEY = re.compile(r"[0-9a-f]{4,64}")
_SHOWN_KEY = 12


@app.command()
def build(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.", show_default=False)],
    version: Annotated[
        str | None,
        typer.Argument(
            metavar="VERSION",
            help="Its version. Default: the one that is served, or the newest.",
            show_default=False,
        ),
    ] = None,
    models: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Take the model from DIR/MODEL. Default: from the registry.")
    ] = None,
    compute_capability: Annotated[
        str | None,
        typer.Option(
            metavar="X.Y", help="Build for this kind of GPU, which need not be here. Default: this box's GPU."
        ),
    ] = None,
    gpu: Annotated[
        str, typer.Option(metavar="UUID", help="Build on and for this GPU. Default: as the daemon chooses it.")
    ] = "",
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Build the engine of a model, unless it is there already. Ctrl-C ends the build and leaves nothing."""
    from appliance.cli.engine_building import EngineWish, build_engine  # noqa: PLC0415  (heavy: not for --help)

    settings = read_settings(config, state)
    wish = EngineWish(model, version, models, compute_capability, gpu)
    document = build_engine(wish, settings, lambda: _opened(settings))
    if as_json:
        print_json(document)
        return
    did = "was there already" if document["cached"] else f"was built in {document['seconds']:.1f} s"
    print_facts(
        [
            ("engine", document["key"]),
            ("digest", document["digest"]),
            ("size", format_size(document["size_bytes"])),
            ("model", f"{document['model']} version {document['version']}, the engine {did}"),
        ]
    )
    say(f"next: appliance engines show {document['key'][:_SHOWN_KEY]}")


@app.command()
def cancel(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.", show_default=False)],
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="Its version. Default: all.", show_default=False)
    ] = None,
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """End the build that the daemon is at. The model goes on as it is served now, until it is loaded again."""
    from appliance.cli.client import connect_admin  # noqa: PLC0415  (heavy: not for --help)

    with connect_admin(read_settings(config, state).layout) as daemon:
        cancelled = daemon.cancel_engine_build(model, version or "")
    if as_json:
        print_json({"cancelled": cancelled})
    if not cancelled:
        raise NotFound(f"no engine of '{model}' is being built", hint="appliance status")
    say(f"cancelled {cancelled} build{'' if cancelled == 1 else 's'} of '{model}'")


@app.command("list")
def list_engines(config: ConfigOption = None, state: StateOption = None, *, as_json: JsonOption = False) -> None:
    """Show every engine that is kept, the most recently used first."""
    from appliance.cli.engine_documents import engine_document, target_text  # noqa: PLC0415

    settings = read_settings(config, state)
    records: list[EngineRecord] = []
    if settings.layout.database.exists():
        with _opened(settings) as store:
            records = store.records()[::-1]
    documents = [engine_document(record, settings.layout) for record in records]
    if as_json:
        print_json(documents)
        return
    if not records:
        say(f"there are no engines in {settings.layout.engines}")
        say("next: appliance engines build MODEL")
        return
    rows = [
        (
            record.key[:_SHOWN_KEY],
            record.model,
            record.version,
            target_text(record),
            format_size(record.size_bytes),
            document["used_at"][:10],
        )
        for record, document in zip(records, documents, strict=True)
    ]
    print_table(("KEY", "MODEL", "VERSION", "FOR", "SIZE", "USED"), rows, right=("VERSION", "SIZE"))


@app.command()
def show(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="Its key, or the beginning of it (4 or more).", show_default=False)
    ],
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show everything that one engine was built from, by and for: if any of it changes, it is built again."""
    from appliance.cli.engine_documents import engine_document, key_components  # noqa: PLC0415

    settings = read_settings(config, state)
    with _opened_if_there(settings) as store:
        record = _found(store.records(), key)
    document = engine_document(record, settings.layout)
    if as_json:
        print_json(document)
        return
    print_facts(
        [
            ("engine", record.key),
            ("model", f"{record.model} version {record.version}"),
            ("digest", record.digest),
            ("size", format_size(record.size_bytes)),
            ("file", document["path"]),
            ("built", f"{document['built_at']}, in {record.build_s:.1f} s, {format_size(record.build_peak_bytes)}"),
            ("used", document["used_at"]),
            ("GPU memory", format_size(record.device_bytes) if record.device_bytes else "never loaded"),
        ]
    )
    print_text("")
    print_text("It is used only while all of this is so:")
    print_facts(key_components(record))


@app.command()
def prune(
    largest_bytes: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="What all engines together may take; 0: none stays. Default: from the settings."
        ),
    ] = None,
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Remove the engines that were not used for longest. They are built again when they are needed."""
    settings = read_settings(config, state)
    with _opened_if_there(settings) as store:
        removed = store.prune(largest_bytes)
        kept = store.records()
    freed_bytes, kept_bytes = (sum(record.disk_bytes for record in records) for records in (removed, kept))
    if as_json:
        print_json(
            {
                "removed": [record.key for record in removed],
                "freed_bytes": freed_bytes,
                "kept": len(kept),
                "kept_bytes": kept_bytes,
            }
        )
        return
    print_text(
        f"removed {len(removed)} of {len(removed) + len(kept)} engines, {format_size(freed_bytes)}; "
        f"{format_size(kept_bytes)} are left"
    )


@app.command("export-timing-cache")
def export_timing_cache(
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Directory to put them into.", show_default=False)],
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Copy what TensorRT measured while building: with it, another box with the same GPU builds faster."""
    with _opened_if_there(read_settings(config, state)) as store:
        paths = store.export_timing_cache(to)
    if as_json:
        print_json([{"path": str(path), "size_bytes": path.stat().st_size} for path in paths])
        return
    for path in paths:
        typer.echo(path)  # unwrapped: scripts take it as it is


@contextmanager
def _opened(settings: Settings) -> Iterator["EngineStore"]:
    from appliance.backends.tensorrt.engine_store import EngineStore  # noqa: PLC0415  (heavy: not for --help)
    from appliance.registry.engine_records import EngineRecords  # noqa: PLC0415

    layout = settings.layout
    with EngineRecords.open(layout.database) as records:
        store = EngineStore(layout.engines, records, largest_bytes=settings.engines.largest_bytes)
        store.open_store()
        yield store


@contextmanager
def _opened_if_there(settings: Settings) -> Iterator["EngineStore"]:
    """Raise NotFound rather than make a registry in a directory that was misspelt."""
    layout = settings.layout
    if not layout.database.exists():
        raise NotFound(f"there are no engines in {layout.root}", hint="build one: appliance engines build MODEL")
    with _opened(settings) as store:
        yield store


def _found(records: list["EngineRecord"], key: str) -> "EngineRecord":
    if not _KEY.fullmatch(key):
        raise InvalidInput(
            f"'{key[:80]}' is no key of an engine, expected 4 to 64 of 0-9 a-f", hint="appliance engines list"
        )
    found = [record for record in records if record.key.startswith(key)]
    if len(found) == 1:
        return found[0]
    problem = f"{len(found)} engines begin with {key}" if found else f"there is no engine {key}"
    known = ", ".join(record.key[:_SHOWN_KEY] for record in found or records) or "none"
    raise NotFound(f"{problem}: there is {known}", hint="appliance engines list")
