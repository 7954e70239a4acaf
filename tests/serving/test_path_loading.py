"""Execution paths: the first that works serves, an engine that is missing is built meanwhile, and nothing is silent.

There is no GPU here, so the engine sources below stand for the cache and the builder: they find nothing, build for as
long as a test wants, or fail. What then happens on a GPU is in tests/gpu.
"""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from appliance.backends.engine_file import EngineFile, EngineRefused
from appliance.backends.probe import probe
from appliance.backends.tensorrt.build_request import BuildProgress
from appliance.errors import Failed
from appliance.model.config_text import config_from_toml
from appliance.model.execution import ExecutionPath
from appliance.model.identity import ModelName
from appliance.model.lifecycle import ModelState
from appliance.registry.directory_source import DirectorySource
from appliance.serving import engine_works
from appliance.serving.engine_works import EngineWorks
from appliance.serving.loaded_model import ENGINE_MISSING
from appliance.serving.model_manager import ModelManager
from appliance.serving.path_loading import load_on_best_path
from appliance.serving.request import InferenceRequest
from tests.serving.workshop import MLP, WITH_GPU, WITHOUT_GPU, Workshop, until, write_package
from tests.support.onnx_models import write_mlp


def mlp_request():
    return InferenceRequest({"INPUT0": np.ones((1, 4), np.float32)}, ("OUTPUT0",), 1, None)


def row(manager):
    return next((entry, reason) for name, entry, reason in manager.table.rows() if name == MLP)


def serve(models, scenario, works):
    async def run():
        async with models.manager(works) as manager:
            return await scenario(manager)

    return asyncio.run(run())


def test_what_is_required_and_cannot_be_had_fails_with_the_remedy_and_the_others_serve(models):
    """With the real probe, on a machine without a GPU."""
    if next(path for path in probe().paths if path.path == "tensorrt").usable:
        pytest.skip("this machine has a GPU")
    write_package(models, '["tensorrt"]')
    models.reference("other")

    async def scenario(manager):
        (entry, reason), ready = row(manager), manager.table.is_ready("other", "")
        return entry.state, reason, ready

    state, reason, other_is_ready = serve(models, scenario, None)

    assert state is ModelState.UNAVAILABLE
    assert reason.startswith("it cannot run on tensorrt: ")
    assert "(" in reason  # the remedy
    assert other_is_ready


def test_a_list_of_paths_serves_on_the_first_that_works_and_says_why_not_the_others(models):
    if next(path for path in probe().paths if path.path == "cuda").usable:
        pytest.skip("this machine has a GPU")
    write_package(models, '["tensorrt", "cuda", "cpu"]')

    async def scenario(manager):
        model = manager.table.lookup("mlp", "")
        await model.infer(mlp_request())
        return model.path, dict(model.passed_over), model.device, model.device_note

    path, passed_over, device, note = serve(models, scenario, None)

    assert path is ExecutionPath.CPU
    assert device == "CPUExecutionProvider"
    assert list(passed_over) == [ExecutionPath.TENSORRT, ExecutionPath.CUDA]
    assert note.startswith("not on tensorrt: ")
    assert "; not on cuda: " in note


def test_the_cpu_is_not_used_unless_the_list_names_it(models):
    write_package(models, '["tensorrt", "cuda"]')

    async def scenario(manager):
        return row(manager)

    entry, reason = serve(models, scenario, EngineWorks(Workshop(), lambda cancelled: WITHOUT_GPU))

    assert entry.state is ModelState.UNAVAILABLE
    assert reason == (
        "it can run on none of the paths that its configuration permits: "
        "tensorrt: there is no GPU (put one in); cuda: there is no GPU (put one in)"
    )


def test_while_its_engine_is_built_a_model_serves_on_another_permitted_path(models):
    workshop = Workshop()
    write_package(models, '["tensorrt", "cpu"]')

    async def scenario(manager):
        model = manager.table.lookup("mlp", "")
        first = await model.infer(mlp_request())
        await until(workshop.begun.is_set)
        await until(lambda: manager.engines.builds()[0].progress is not None)
        (build,) = manager.engines.builds()
        note = model.device_note
        workshop.released.set()
        await until(lambda: not manager.engines.builds())
        await until(lambda: "refuses" in model.device_note)
        again = await manager.table.lookup("mlp", "").infer(mlp_request())
        return first, build, note, model.device_note, again, manager.table.lookup("mlp", "") is model

    first, build, before, after, again, is_same = serve(
        models, scenario, EngineWorks(workshop, lambda cancelled: WITH_GPU)
    )

    assert build.progress == BuildProgress("Timing tactics", 0.25, 12.0)
    assert before == "not on tensorrt: its engine is being built"
    assert after == "not on tensorrt: the builder refuses it"
    assert is_same
    np.testing.assert_array_equal(first[0], again[0])


def test_a_model_that_may_run_on_nothing_else_is_loading_while_its_engine_is_built(models):
    workshop = Workshop()
    write_package(models, '["tensorrt"]')
    models.reference("other")

    async def scenario():
        manager = ModelManager(
            DirectorySource(models.root),
            EngineWorks(workshop, lambda cancelled: WITH_GPU),
            load_threads=1,
            load_attempts=2,
        )
        reconciling = asyncio.create_task(manager.reconcile(engines=True))
        await until(workshop.begun.is_set)
        await until(lambda: manager.table.is_ready("other", ""))  # though there is one loader thread only
        state = row(manager)[0].state
        workshop.released.set()
        await reconciling
        entry, reason = row(manager)
        await manager.close()
        return state, entry.state, reason

    assert asyncio.run(scenario()) == (ModelState.LOADING, ModelState.UNAVAILABLE, "the builder refuses it")


@pytest.mark.parametrize("execution", ['["tensorrt"]', '["tensorrt", "cpu"]'])
def test_a_stop_ends_the_build(models, execution):
    workshop = Workshop()
    write_package(models, execution)

    async def scenario():
        manager = ModelManager(
            DirectorySource(models.root),
            EngineWorks(workshop, lambda cancelled: WITH_GPU),
            load_threads=2,
            load_attempts=2,
        )
        reconciling = asyncio.create_task(manager.reconcile(engines=True))
        await until(workshop.begun.is_set)
        await asyncio.wait_for(manager.close(), 10)
        await asyncio.wait_for(asyncio.gather(reconciling, return_exceptions=True), 10)
        return manager.engines.builds()

    assert asyncio.run(scenario()) == []


def test_a_model_that_goes_away_takes_its_build_along(models):
    workshop = Workshop()
    write_package(models, '["tensorrt", "cpu"]')

    async def scenario(manager):
        await until(workshop.begun.is_set)
        await manager.unload(MLP)
        await until(lambda: not manager.engines.builds())
        return row(manager)[1]

    assert serve(models, scenario, EngineWorks(workshop, lambda cancelled: WITH_GPU)) == "unloaded"


def test_builds_take_turns_and_one_that_waits_can_be_cancelled(models):
    workshop = Workshop()
    write_package(models, '["tensorrt", "cpu"]')
    (models.root / "second" / "1").mkdir(parents=True)
    write_mlp(models.root / "second" / "1" / "model.onnx", (4, 2))
    (models.root / "second" / "model.toml").write_text((models.root / MLP / "model.toml").read_text())

    async def scenario(manager):
        await until(lambda: len(manager.engines.builds()) == 2)
        await until(lambda: any(build.progress for build in manager.engines.builds()))
        waiting = [build.available for build in manager.engines.builds() if build.progress is None]
        manager.engines.cancel(waiting[0])
        await until(lambda: len(manager.engines.builds()) == 1)
        return len(waiting)

    assert serve(models, scenario, EngineWorks(workshop, lambda cancelled: WITH_GPU)) == 1


def test_a_build_that_a_model_needs_holds_up_nobody(models):
    """Other models are activated, loaded and unloaded meanwhile, and the model itself can be let go."""
    workshop = Workshop()
    write_package(models, '["tensorrt"]')
    works = EngineWorks(workshop, lambda cancelled: WITH_GPU)

    async def scenario():
        manager = ModelManager(DirectorySource(models.root), works, load_threads=1, load_attempts=2)
        starting = asyncio.create_task(manager.reconcile(engines=True))
        await until(workshop.begun.is_set)
        models.reference("late")
        await asyncio.wait_for(manager.reconcile(), 10)  # as `models activate` does
        assert manager.table.is_ready("late", "")
        await asyncio.wait_for(manager.load(ModelName("late")), 10)
        await asyncio.wait_for(manager.unload(ModelName("late")), 10)
        waiting = row(manager)[0].state
        await asyncio.wait_for(manager.unload(MLP), 10)
        await asyncio.wait_for(starting, 10)
        entry, reason = row(manager)
        await until(lambda: not manager.engines.builds())
        await manager.close()
        return waiting, entry.state, reason

    assert asyncio.run(scenario()) == (ModelState.LOADING, ModelState.UNAVAILABLE, "unloaded")


def test_while_the_engine_of_a_new_configuration_is_built_the_old_one_serves(models):
    workshop = Workshop()
    write_package(models, '["cpu"]')

    async def scenario(manager):
        old = manager.table.lookup("mlp", "")
        write_package(models, '["tensorrt"]')
        loading = asyncio.create_task(manager.load(MLP))
        await until(workshop.begun.is_set)
        during = await manager.table.lookup("mlp", "").infer(mlp_request())
        workshop.released.set()
        with pytest.raises(Failed, match=r"failed to load 'mlp', .*the builder refuses it"):
            await loading
        return during, manager.table.lookup("mlp", "") is old

    during, still = serve(models, scenario, EngineWorks(workshop, lambda cancelled: WITH_GPU))

    assert during[0].shape == (1, 2)
    assert still


def test_a_model_that_is_loaded_again_while_its_engine_is_built_serves_and_waits_for_the_same_engine(models):
    workshop = Workshop()
    write_package(models, '["tensorrt", "cpu"]')

    async def scenario(manager):
        await until(workshop.begun.is_set)
        await manager.load(MLP)
        await until(lambda: workshop.asked == 2)
        workshop.released.set()
        await until(lambda: not manager.engines.builds())
        await until(lambda: "refuses" in manager.table.lookup("mlp", "").device_note)
        return await manager.table.lookup("mlp", "").infer(mlp_request())

    assert serve(models, scenario, EngineWorks(workshop, lambda cancelled: WITH_GPU))


def test_an_engine_that_does_not_load_is_passed_over(models, tmp_path):
    """TensorRT itself says so: here it is a library without a driver, or an engine that is none."""

    class Foreign(Workshop):
        def find(self, available, report):
            return EngineFile(Path("foreign.engine"), "sha256:0", b"no engine", flavour="tensorrt-rtx")

    write_package(models, '["tensorrt", "cpu"]')

    async def scenario(manager):
        model = manager.table.lookup("mlp", "")
        return model.path, model.passed_over[ExecutionPath.TENSORRT], manager.engines.builds()

    path, reason, builds = serve(models, scenario, EngineWorks(Foreign(), lambda cancelled: WITH_GPU))

    assert path is ExecutionPath.CPU
    assert reason
    assert builds == []


def test_an_engine_that_tensorrt_refuses_is_removed_and_built_again(models):
    class Kept(Workshop):
        def find(self, available, report):
            return EngineFile(Path("old.engine"), "sha256:0", b"built for another TensorRT")

    workshop = Kept()
    write_package(models, '["tensorrt", "cpu"]')
    (available,) = DirectorySource(models.root).scan()[MLP].versions.values()

    def open_on(version, *, path=None, passed_over=None, engine=None):
        if engine is not None:
            raise EngineRefused("TensorRT cannot load the engine: version mismatch")
        return path, dict(passed_over)

    path, passed_over = load_on_best_path(available, open_on, EngineWorks(workshop, lambda cancelled: WITH_GPU))

    assert workshop.discarded == ["TensorRT cannot load the engine: version mismatch"]
    assert path is ExecutionPath.CPU
    assert passed_over == {ExecutionPath.TENSORRT: ENGINE_MISSING}


def test_what_nobody_expected_of_a_build_is_a_reason_and_not_a_model_that_loads_for_ever(models):
    class Broken(Workshop):
        def build(self, available, report, advance, cancelled):
            raise FileNotFoundError("a file of the model went away")

    write_package(models, '["tensorrt"]')
    works = EngineWorks(Broken(), lambda cancelled: WITH_GPU)

    async def scenario():
        manager = ModelManager(DirectorySource(models.root), works, load_threads=1, load_attempts=2)
        await asyncio.wait_for(manager.reconcile(engines=True), 10)
        entry, reason = row(manager)
        await asyncio.wait_for(manager.close(), 10)
        return entry.state, reason

    state, reason = asyncio.run(scenario())

    assert state is ModelState.UNAVAILABLE
    assert reason == "building its engine failed: FileNotFoundError: a file of the model went away"


def test_every_build_that_waits_is_shown_and_none_is_built_after_its_model_was_let_go(models):
    workshop = Workshop()
    names = [f"m{number}" for number in range(12)]
    for name in names:
        (models.root / name / "1").mkdir(parents=True)
        write_mlp(models.root / name / "1" / "model.onnx", (4, 2))
        (models.root / name / "model.toml").write_text('max_batch_size = 8\nexecution = ["tensorrt"]\n')

    async def scenario(manager):
        await until(lambda: len(manager.engines.builds()) == len(names))
        for name in names:
            await manager.unload(ModelName(name))
        await until(lambda: not manager.engines.builds())
        return {entry.state for _, entry, _ in manager.table.rows()}

    assert serve(models, scenario, EngineWorks(workshop, lambda cancelled: WITH_GPU)) == {ModelState.UNAVAILABLE}


def test_a_load_that_fails_while_an_engine_is_built_says_so(models):
    workshop = Workshop()
    write_package(models, '["tensorrt", "cpu"]')

    async def scenario(manager):
        await until(workshop.begun.is_set)
        wrong = config_from_toml('input = [{ name = "INPUT0", dims = [77] }]\nexecution = ["cpu"]', "test")
        with pytest.raises(Failed, match=r"failed to load 'mlp', .*it cannot run on cpu: .*dims \[77\]"):
            await manager.load(MLP, wrong)
        needs_engine = config_from_toml('execution = ["tensorrt"]', "test")
        loading = asyncio.create_task(manager.load(MLP, needs_engine))
        await until(lambda: manager.table.entries[MLP].versions[1].waits_for_engine)
        workshop.released.set()
        with pytest.raises(Failed, match="the builder refuses it"):
            await loading
        return await manager.table.lookup("mlp", "").infer(mlp_request())

    assert serve(models, scenario, EngineWorks(workshop, lambda cancelled: WITH_GPU))


def test_a_preferred_path_is_not_the_cpu_under_another_name(models):
    """ONNX Runtime would go to the CPU by itself, and the paths after it would never be tried."""
    if next(path for path in probe().paths if path.path == "cuda").usable:
        pytest.skip("this machine has a GPU")
    workshop = Workshop()
    write_package(models, '{ prefer = ["cuda", "tensorrt"] }')

    async def scenario(manager):
        model = manager.table.lookup("mlp", "")
        return model.path, list(model.passed_over), workshop.asked

    found = serve(models, scenario, EngineWorks(workshop, lambda cancelled: WITH_GPU))

    assert found == (ExecutionPath.CPU, [ExecutionPath.CUDA, ExecutionPath.TENSORRT], 1)


def test_what_the_probe_found_broken_is_asked_again_later(models, monkeypatch):
    monkeypatch.setattr(engine_works, "_ASK_AGAIN_S", 0.0)
    reports = [WITHOUT_GPU, WITH_GPU, WITHOUT_GPU]
    works = EngineWorks(Workshop(), lambda cancelled: reports.pop(0))

    with pytest.raises(Failed):
        works.require_usable(ExecutionPath.TENSORRT)
    works.require_usable(ExecutionPath.TENSORRT)
    works.require_usable(ExecutionPath.CUDA)

    assert reports == [WITHOUT_GPU]
