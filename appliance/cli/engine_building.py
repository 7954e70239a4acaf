"""How `engines build` finds the model and the GPU, shows how far it is, and is ended by Ctrl-C or SIGTERM."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from appliance.backends.cuda.driver import open_driver
from appliance.backends.cuda.gpu import choose_gpu, driver_version, l4t_release, list_gpus
from appliance.backends.table import backend_name
from appliance.backends.tensorrt.build_request import BuildProgress
from appliance.backends.tensorrt.engine_store import EngineStore
from appliance.backends.tensorrt.engine_supply import EngineSupply
from appliance.backends.tensorrt.engine_target import EngineTarget, gpu_target, named_target
from appliance.backends.tensorrt.flavour import Flavour, choose_flavour
from appliance.cli.engine_documents import engine_document
from appliance.cli.output import Advance, progress, say
from appliance.daemon.model_source import open_source
from appliance.errors import Cancelled, Failed, InvalidInput, NotFound
from appliance.model.config import ModelConfig
from appliance.model.identity import parse_model_name, parse_model_version
from appliance.registry.source import AvailableVersion, ModelSource, SourceModel
from appliance.settings import Settings

_WITH_ONNX = frozenset({"onnxruntime", "tensorrt"})
_STEPS = 1000


@dataclass(frozen=True, slots=True)
class EngineWish:
    """What was typed."""

    model: str
    version: str | None
    models: Path | None
    compute_capability: str | None
    gpu: str


def build_engine(
    wish: EngineWish, settings: Settings, opened_store: Callable[[], AbstractContextManager[EngineStore]]
) -> dict[str, Any]:
    """Obtain the engine and return its document. Ends the command if a signal ends the build."""
    with _cancelled_by_signals() as (cancelled, ended_by):
        try:
            return _obtained(wish, settings, opened_store, cancelled)
        except Cancelled as error:
            say(f"cancelled: {error.message}; nothing is left of it")
            raise typer.Exit(128 + ended_by[0]) from error


def _obtained(
    wish: EngineWish,
    settings: Settings,
    opened_store: Callable[[], AbstractContextManager[EngineStore]],
    cancelled: threading.Event,
) -> dict[str, Any]:
    started_s = time.monotonic()
    with _source(wish, settings) as source:
        version = _chosen(source, wish)
        target = _target(wish, settings, version.config)
        source.verify(version)
        with opened_store() as store, progress() as advance:
            title = f"{version.name} version {version.version}"
            supply = EngineSupply(store, target, settings.engines)
            obtained = supply.obtain(version, _told(advance, title), cancelled)
            with closing(obtained.file):
                return engine_document(obtained.record, settings.layout) | {
                    "seconds": round(time.monotonic() - started_s, 3),
                    "cached": obtained.cached,
                }


@contextmanager
def _source(wish: EngineWish, settings: Settings) -> Iterator[ModelSource]:
    if wish.models is None and not settings.layout.database.exists():
        raise NotFound(
            f"there is no registry in {settings.layout.root}",
            hint="make one: appliance models add DIR; or name the directory of your models: --models DIR",
        )
    with open_source(settings.model_copy(update={"models_directory": wish.models})) as opened:
        yield opened.source


def _chosen(source: ModelSource, wish: EngineWish) -> AvailableVersion:
    name, models = parse_model_name(wish.model), source.scan()
    if name not in models:
        raise NotFound(
            f"there is no model '{name}' in {source.description}, which has {', '.join(sorted(models)) or 'none'}",
            hint="see what there is: appliance models list",
        )
    model = models[name]
    if model.problem and not model.versions:
        raise InvalidInput(f"'{name}' cannot be read: {model.problem}", hint="correct the package")
    version = _chosen_version(model, wish.version)
    backend = backend_name(version.config)
    if backend not in _WITH_ONNX:
        raise InvalidInput(
            f"'{name}' is computed by the backend '{backend}': there is no ONNX file to build an engine from",
            hint="leave 'backend' out of the configuration of a model that is ONNX",
        )
    return version


def _chosen_version(model: SourceModel, wanted: str | None) -> AvailableVersion:
    number = max(model.versions) if model.default is None else model.default
    if wanted is not None:
        number = parse_model_version(wanted)
    if number not in model.versions:
        known = ", ".join(map(str, sorted(model.versions)))
        raise NotFound(
            f"'{model.name}' has no version {number}, it has {known}", hint=f"appliance models show {model.name}"
        )
    return model.versions[number]


def _target(wish: EngineWish, settings: Settings, config: ModelConfig) -> EngineTarget:
    flavour = choose_flavour(settings.engines.flavour)
    if wish.compute_capability is not None:
        if wish.gpu:
            raise InvalidInput(
                "--gpu and --compute-capability exclude each other", hint="leave --compute-capability out"
            )
        return named_target(flavour, wish.compute_capability)
    return _target_of_box(flavour, wish.gpu, settings.gpu.uuid, config)


def _target_of_box(flavour: Flavour, typed: str, usual: str, config: ModelConfig) -> EngineTarget:
    """Choose as the daemon does, so that it finds the engine; typed: a UUID that goes before everything."""
    try:
        gpus = list_gpus(open_driver())
    except Failed as error:
        raise _without_gpu(error.message) from error
    if not gpus:
        raise _without_gpu("the NVIDIA driver shows none")
    ordinals = () if typed else next((group.gpus for group in config.instance_group if group.gpus), ())
    gpu = choose_gpu(gpus, ordinals=ordinals, wanted=typed or usual)
    return gpu_target(flavour, gpu, driver_version(), l4t_release())


def _without_gpu(why: str) -> Failed:
    return Failed(
        f"there is no GPU to build on: {why}",
        hint="name the kind of GPU to build for: --compute-capability 8.9; or look: appliance doctor",
    )


def _told(advance: Advance, title: str) -> Callable[[BuildProgress], None]:
    """Show each phase once as it begins, then how far the whole is."""
    phase = ""

    def tell(build: BuildProgress) -> None:
        nonlocal phase
        begins, phase = build.phase != phase, build.phase
        done = int(build.fraction * _STEPS)
        far = f", {build.fraction:.0%}" if done else ""
        # Nothing done is how a step begins: a line of its own where there is no bar.
        advance(f"{title}: {build.phase}{far}", done if begins else max(1, done), _STEPS)

    return tell


@contextmanager
def _cancelled_by_signals() -> Iterator[tuple[threading.Event, list[int]]]:
    """Lend an event that SIGINT and SIGTERM set, and the signals that came."""
    cancelled, came = threading.Event(), list[int]()

    def end(number: int, _frame: object) -> None:
        came.append(number)
        cancelled.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield cancelled, came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
