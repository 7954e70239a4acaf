"""What the registry desires is what is served: aliases, rollback, damage, the crash-loop guard."""

import asyncio
import time
from contextlib import asynccontextmanager

import numpy as np
import pytest

from appliance.errors import NotFound
from appliance.model.datatype import Datatype
from appliance.model.signature import ModelSignature, SignatureTensor
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.package import read_package
from appliance.registry.registry_source import RegistrySource
from appliance.serving.model_manager import ModelManager
from appliance.serving.request import InferenceRequest
from appliance.state_layout import StateLayout
from tests.serving.conftest import engine_works

SIGNATURE = ModelSignature(
    (SignatureTensor("x", Datatype.FP32, (-1, 2)),), (SignatureTensor("y", Datatype.FP32, (-1, 2)),)
)


@pytest.fixture
def registry(models, tmp_path):
    models.reference("m", 1, 2)
    models.reference("other", 1)
    (models.root / "other/1/model.onnx").write_text("another file, so another blob")
    with ModelRegistry.open(StateLayout(tmp_path / "state")) as opened:
        for name in ("m", "other"):
            opened.add(read_package(models.root / name), check=lambda file, config: SIGNATURE)
            opened.activate(name, 1)
        yield opened


@asynccontextmanager
async def serving(registry):
    manager = ModelManager(
        RegistrySource(registry), engine_works(registry.layout.root), load_threads=2, load_attempts=2
    )
    await manager.reconcile()
    try:
        yield manager
    finally:
        await asyncio.wait_for(manager.close(), 30)


def request():
    array = np.ones((1, 2), dtype=np.float32)
    return InferenceRequest({"x": array}, ("y",), 1, None, received_ns=time.monotonic_ns())


def test_an_empty_version_means_the_serving_alias_even_beside_a_newer_canary(registry):
    registry.activate("m", 2, alias="canary")

    async def scenario():
        async with serving(registry) as manager:
            table = manager.table
            found = [table.lookup(*asked).version for asked in (("m", ""), ("m", "2"), ("m@canary", ""))]
            with pytest.raises(NotFound):
                table.lookup("m@nightly", "")
            return found

    assert asyncio.run(scenario()) == [1, 2, 2]


def test_activating_an_older_version_rolls_back(registry):
    registry.activate("m", 2)

    async def scenario():
        async with serving(registry) as manager:
            before = manager.table.lookup("m", "").version
            registry.activate("m", 1)
            await manager.reconcile()
            return before, manager.table.lookup("m", "").version, manager.table.is_ready("m", "2")

    assert asyncio.run(scenario()) == (2, 1, False)


def test_a_damaged_file_is_found_at_load_and_not_served(registry):
    digest = registry.version("m", 1).manifest.files["1/model.onnx"].digest
    blob = registry.layout.blobs / "sha256" / digest.removeprefix("sha256:")
    blob.chmod(0o644)
    blob.write_text("REFERENCE")

    async def scenario():
        async with serving(registry) as manager:
            reasons = {name: entry.reason for name, entry, _ in manager.table.rows() if entry and entry.version == 1}
            answer = await manager.table.lookup("other", "").infer(request())
            return reasons["m"], answer[0].tolist(), manager.table.is_ready("m", "")

    reason, answer, ready = asyncio.run(scenario())

    assert "damaged" in reason
    assert answer == [[1, 1]]
    assert not ready


def test_a_version_that_ended_the_process_twice_is_refused_until_it_is_activated_again(registry):
    for _ in range(2):
        registry.crash_guard.load_started("m", 1)  # and never finished: the process died

    async def scenario():
        async with serving(registry) as manager:
            reasons = {name: entry.reason for name, entry, _ in manager.table.rows() if entry and entry.version == 1}
            refused = manager.table.is_ready("m", "")
            others = manager.table.is_ready("other", "")
            registry.activate("m", 1)
            await manager.reconcile()
            return reasons["m"], refused, others, manager.table.is_ready("m", "")

    reason, refused, others, again = asyncio.run(scenario())

    assert "2 times" in reason
    assert "appliance models activate m 1" in reason
    assert (refused, others, again) == (False, True, True)


def test_a_version_that_ended_the_process_once_is_tried_again_after_all_others(registry):
    registry.crash_guard.load_started("m", 1)
    order = []

    class Recording(RegistrySource):
        def load_started(self, version):
            order.append(version.name)
            super().load_started(version)

    async def scenario():
        manager = ModelManager(
            Recording(registry), engine_works(registry.layout.root), load_threads=2, load_attempts=2
        )
        await manager.reconcile()
        ready = manager.ready
        await manager.close()
        return ready

    assert asyncio.run(scenario())
    assert order == ["other", "m"]


def test_a_load_in_progress_at_a_clean_stop_does_not_count_as_a_crash(registry, models):
    async def scenario():
        manager = ModelManager(
            RegistrySource(registry), engine_works(registry.layout.root), load_threads=2, load_attempts=2
        )
        loading = asyncio.create_task(manager.reconcile())
        await asyncio.sleep(0.01)
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        await manager.close()

    asyncio.run(scenario())

    assert registry.crash_guard.refusal("m", 1, 1) == ""
    assert registry.crash_guard.refusal("other", 1, 1) == ""
