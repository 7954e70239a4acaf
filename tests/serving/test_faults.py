"""What goes wrong around loading, and what it must not touch."""

import asyncio
import gc
import threading
import weakref

import numpy as np
import pytest

from appliance.errors import Failed, InvalidInput
from appliance.model.config import ModelConfig
from appliance.model.lifecycle import ModelState
from appliance.registry.directory_source import DirectorySource
from appliance.serving.model_manager import ModelManager
from appliance.serving.package_file import read_package_file
from appliance.serving.request import InferenceRequest
from tests.serving.conftest import engine_works

SLOW_WARM_UP = '\nparameters = { delay_ms = "300" }'


def request():
    return InferenceRequest({"x": np.ones((1, 2), dtype=np.float32)}, ("y",), 1, None)


def test_a_client_that_leaves_while_its_load_runs_does_not_leave_the_model_half_loaded(models):
    models.reference("m", more=SLOW_WARM_UP)

    async def scenario():
        async with models.manager() as manager:
            await manager.unload("m")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(manager.load("m"), 0.05)
            await manager.load("m")
            return manager.table.is_ready("m", ""), manager.ready

    assert asyncio.run(scenario()) == (True, True)


def test_a_stop_while_a_load_runs_closes_what_it_produced(models):
    models.reference("m", more=SLOW_WARM_UP)

    async def scenario():
        manager = ModelManager(
            DirectorySource(models.root), engine_works(models.root.parent / "state"), load_threads=2, load_attempts=2
        )
        loading = asyncio.create_task(manager.reconcile())
        await asyncio.sleep(0.05)
        await manager.close()
        await loading

    asyncio.run(scenario())

    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("m_")]


def test_a_serving_model_whose_package_turns_bad_goes_on_serving_and_says_why(models):
    models.reference("m")

    async def scenario():
        async with models.manager() as manager:
            (models.root / "m" / "model.toml").write_text("max_batch_size = ")
            await manager.reconcile()
            answer = await manager.table.lookup("m", "").infer(request())
            reasons = [reason for _, _, reason in manager.table.rows()]
            ready = manager.ready
            models.reference("m")
            await manager.reconcile()
            return answer[0].tolist(), reasons, ready, manager.ready

    answer, reasons, ready, ready_again = asyncio.run(scenario())

    assert answer == [[1, 1]]
    assert "not valid TOML" in reasons[0]
    assert (ready, ready_again) == (False, True)


def test_an_error_of_a_kind_that_nobody_expected_stays_with_its_own_model(models):
    models.reference("bad")
    models.reference("good")

    class Broken(DirectorySource):
        def verify(self, version):
            if version.name == "bad":
                raise RuntimeError("the disk speaks in tongues")

    async def scenario():
        manager = ModelManager(
            Broken(models.root), engine_works(models.root.parent / "state"), load_threads=2, load_attempts=2
        )
        await manager.reconcile()
        rows = {name: (entry.state, reason) for name, entry, reason in manager.table.rows()}
        await manager.close()
        return rows

    rows = asyncio.run(scenario())

    assert rows["good"][0] is ModelState.READY
    assert rows["bad"][0] is ModelState.UNAVAILABLE
    assert "RuntimeError: the disk speaks in tongues" in rows["bad"][1]


def test_a_load_that_cannot_be_written_down_still_serves(models):
    models.reference("m")

    class FullDisk(DirectorySource):
        def load_finished(self, version, problem):
            raise Failed("no space left on device")

    async def scenario():
        manager = ModelManager(
            FullDisk(models.root), engine_works(models.root.parent / "state"), load_threads=2, load_attempts=2
        )
        await manager.reconcile()
        ready = manager.table.is_ready("m", "")
        await manager.close()
        return ready

    assert asyncio.run(scenario())


def test_a_clients_configuration_ends_with_the_files_it_was_given_for(models):
    models.reference("m", 1, max_batch_size=8)
    override = ModelConfig.model_validate(
        {
            "backend": "reference",
            "max_batch_size": 2,
            "input": [{"name": "x", "data_type": "FP32", "dims": [2]}],
            "output": [{"name": "y", "data_type": "FP32", "dims": [2]}],
        }
    )

    async def scenario():
        async with models.manager() as manager:
            await manager.load("m", override)
            await manager.reconcile()
            during = manager.table.lookup("m", "").served.max_batch_size
            models.reference("m", 2, max_batch_size=8)
            await manager.reconcile()
            return during, manager.table.lookup("m", "").served.max_batch_size

    assert asyncio.run(scenario()) == (2, 8)


def test_an_idle_instance_keeps_nobodys_data(models):
    models.reference("m")

    async def scenario():
        async with models.manager() as manager:
            sent = request()
            kept = weakref.ref(sent.inputs["x"])
            await manager.table.lookup("m", "").infer(sent)
            del sent
            await asyncio.sleep(0.05)
            gc.collect()
            return kept()

    assert asyncio.run(scenario()) is None


@pytest.mark.parametrize("name", ["/etc/passwd", "../../etc/passwd", "a/../../b", "a\n"])
def test_a_configuration_cannot_name_files_outside_the_package(name):
    with pytest.raises(ValueError, match="leads out of the package"):
        ModelConfig.model_validate({"output": [{"name": "y", "label_filename": name}]})


def test_neither_links_nor_devices_are_read_as_package_files(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "package" / "link").symlink_to("../secret")
    (tmp_path / "package" / "labels.txt").write_text("cat")

    assert read_package_file(tmp_path / "package", "labels.txt") == b"cat"
    with pytest.raises(InvalidInput, match="leads out of the package"):
        read_package_file(tmp_path / "package", "link")
    with pytest.raises(InvalidInput, match="not a regular file"):
        read_package_file(tmp_path / "package", ".")


def test_a_version_that_was_replaced_is_gone_without_a_garbage_collection(models):
    models.reference("m")

    async def scenario():
        async with models.manager() as manager:
            gc.disable()
            try:
                kept = weakref.ref(manager.table.lookup("m", ""))
                await manager.load("m")
                await asyncio.sleep(0.2)
                return kept()
            finally:
                gc.enable()

    assert asyncio.run(scenario()) is None
