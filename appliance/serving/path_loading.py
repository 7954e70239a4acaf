"""Which of the permitted execution paths a version is loaded on: the first that really works, and why not the others.

A path counts as working when it opened, warmed up and gave the golden answers. An engine that is not in the cache
takes minutes to build, so it is never built here: while another permitted path can serve, that one does.
"""

import logging
from collections.abc import Mapping
from contextlib import closing
from typing import Protocol

from appliance.backends.engine_file import EngineFile, EngineRefused
from appliance.errors import ApplianceError, Failed
from appliance.model.execution import ExecutionPath
from appliance.registry.source import AvailableVersion
from appliance.serving.engine_works import EngineWorks
from appliance.serving.loaded_model import ENGINE_MISSING, LoadedModel

logger = logging.getLogger(__name__)


class EngineNeeded(Exception):
    """No other permitted path can serve: build the engine, then load again."""


class Open(Protocol):
    """Loads a version on one path."""

    def __call__(
        self,
        available: AvailableVersion,
        *,
        path: ExecutionPath | None = None,
        passed_over: Mapping[ExecutionPath, str] = ...,
        engine: EngineFile | None = None,
    ) -> LoadedModel:
        """Raise an ApplianceError if that is impossible; then nothing is left behind."""


def load_on_best_path(available: AvailableVersion, open_on: Open, engines: EngineWorks) -> LoadedModel:
    """Load a version on the first permitted path that works. Blocks for as long as that takes.

    Raises EngineNeeded, or an ApplianceError that names each path and why it cannot be had.
    """
    permitted = available.config.execution.permitted
    if not permitted:
        return open_on(available)
    passed_over: dict[ExecutionPath, str] = {}
    for path in permitted:
        try:
            engines.require_usable(path)
            if path is not ExecutionPath.TENSORRT:
                return open_on(available, path=path, passed_over=passed_over)
            engine = engines.find(available)
            if engine is not None:
                with closing(engine):
                    return _open_engine(available, open_on, engines, engine, passed_over)
            passed_over[path] = ENGINE_MISSING
        except EngineRefused as error:
            logger.warning("%s version %s: %s; it is built again", available.name, available.version, error)
            passed_over[path] = ENGINE_MISSING
        except ApplianceError as error:
            passed_over[path] = str(error)
            logger.warning("%s version %s cannot run on %s: %s", available.name, available.version, path.value, error)
    if ENGINE_MISSING in passed_over.values():
        raise EngineNeeded
    raise _none_works(passed_over)


def _open_engine(
    available: AvailableVersion,
    open_on: Open,
    engines: EngineWorks,
    engine: EngineFile,
    passed_over: Mapping[ExecutionPath, str],
) -> LoadedModel:
    try:
        model = open_on(available, path=ExecutionPath.TENSORRT, passed_over=passed_over, engine=engine)
    except EngineRefused as error:
        engines.discard(engine, error.message)
        raise
    _note_loading(engines, engine, model)
    return model


def _note_loading(engines: EngineWorks, engine: EngineFile, model: LoadedModel) -> None:
    """It serves, whatever becomes of the note."""
    try:
        engines.loaded(engine, model.runtime_cache(), model.device_bytes)
    except ApplianceError as error:
        logger.warning("what loading %s version %s took is not noted: %s", model.name, model.version, error)


def _none_works(reasons: Mapping[ExecutionPath, str]) -> ApplianceError:
    listed = "; ".join(f"{path.value}: {reason}" for path, reason in reasons.items())
    if len(reasons) == 1:
        return Failed(f"it cannot run on {listed}")
    return Failed(f"it can run on none of the paths that its configuration permits: {listed}")
