"""Loading, swapping and unloading under real requests."""

import asyncio
import shutil
import time

import numpy as np
import pytest

from appliance.errors import Busy, Failed, InvalidInput, NotFound
from appliance.model.lifecycle import ModelState
from appliance.serving.model_table import ModelTable
from appliance.serving.request import InferenceRequest

DYNAMIC = "dynamic_batching = {}"


def request(value=1.0, rows=1):
    array = np.full((rows, 2), value, dtype=np.float32)
    return InferenceRequest({"x": array}, ("y",), rows, (("x", (2,)),), received_ns=time.monotonic_ns())


def run(coroutine):
    return asyncio.run(coroutine)


def states(manager):
    return {(name, entry and int(entry.version)): entry and entry.state for name, entry, _ in manager.table.rows()}


def test_the_newest_version_is_served_and_others_are_listed(models):
    models.reference("m", 1, 2, 10)

    async def scenario():
        async with models.manager() as manager:
            return manager.table.lookup("m", "").version, states(manager), manager.ready

    version, found, ready = run(scenario())

    assert version == 10
    assert found == {("m", 1): ModelState.UNKNOWN, ("m", 2): ModelState.UNKNOWN, ("m", 10): ModelState.READY}
    assert ready


@pytest.mark.parametrize("spelling", ["", "-1", "3", "03", "+3"])
def test_a_version_may_be_spelled_as_clients_do(models, spelling):
    models.reference("m", 3)

    async def scenario():
        async with models.manager() as manager:
            return manager.table.lookup("m", spelling).version

    assert run(scenario()) == 3


@pytest.mark.parametrize(
    ("name", "version", "error", "text"),
    [
        ("nobody", "", NotFound, "unknown model: 'nobody' is not found"),
        ("m", "7", NotFound, "'m' version 7 is not found"),
        ("m", "1", Busy, "'m' version 1 is not at ready state"),
        ("m", "v1", InvalidInput, "specified version string 'v1'"),
        ("broken", "", NotFound, "'broken' has no available versions"),
        ("m@nightly", "", NotFound, "unknown model: 'm@nightly' is not found"),
    ],
)
def test_what_cannot_be_served_is_explained(models, name, version, error, text):
    models.reference("m", 1, 2)
    models.reference("broken", more='parameters = { function = "no such" }')

    async def scenario():
        async with models.manager() as manager:
            manager.table.lookup(name, version)

    with pytest.raises(error, match=text):
        run(scenario())


@pytest.mark.parametrize(("name", "version"), [("m", ""), ("m", "1"), ("nobody", "")])
def test_before_the_start_is_over_clients_are_told_to_try_again(name, version):
    with pytest.raises(Busy, match="the models are being loaded, try again"):
        ModelTable().lookup(name, version)


def test_a_model_that_cannot_be_loaded_disturbs_no_other(models):
    models.reference("good")
    models.reference("bad", more='parameters = { function = "no such" }')
    (models.root / "worse").mkdir()

    async def scenario():
        async with models.manager() as manager:
            answer = await manager.table.lookup("good", "").infer(request(7))
            rows = {name: reason for name, _, reason in manager.table.rows()}
            return answer[0].tolist(), rows, manager.ready

    answer, reasons, ready = run(scenario())

    assert answer == [[7, 7]]
    assert "function is 'no such'" in reasons["bad"]
    assert "worse" in reasons["worse"]
    assert not ready


@pytest.mark.slow
def test_twenty_swaps_under_load_fail_no_request(models):
    models.reference("m", 1, more=DYNAMIC)
    failures, answered, versions = [], 0, set()

    async def scenario():
        nonlocal answered
        async with models.manager() as manager:
            stop = asyncio.Event()

            async def client():
                nonlocal answered
                while not stop.is_set():
                    try:
                        model = manager.table.lookup("m", "")
                        answer = await model.infer(request(answered))
                        assert answer[0].shape == (1, 2)
                        versions.add(model.version)
                        answered += 1
                    except Exception as error:  # noqa: BLE001
                        failures.append(error)

            clients = [asyncio.create_task(client()) for _ in range(8)]
            for version in range(2, 22):
                models.reference("m", version, more=DYNAMIC)
                await manager.reconcile()
                shutil.rmtree(models.root / "m" / str(version - 1))
                await asyncio.sleep(0.02)
            stop.set()
            await asyncio.gather(*clients)

    run(scenario())

    assert failures == []
    assert answered > 200
    assert versions == set(range(1, 22))


def test_a_version_that_fails_leaves_the_one_before_it_serving(models):
    models.reference("m", 1)

    async def scenario():
        async with models.manager() as manager:
            models.reference("m", 2, more='parameters = { function = "no such" }')
            await manager.reconcile()
            answer = await manager.table.lookup("m", "").infer(request(5))
            return manager.table.lookup("m", "").version, answer[0].tolist(), states(manager)

    version, answer, found = run(scenario())

    assert (version, answer) == (1, [[5, 5]])
    assert found[("m", 2)] is ModelState.UNAVAILABLE


def test_changed_files_are_loaded_beside_what_serves(models):
    models.reference("m", max_batch_size=2)

    async def scenario():
        async with models.manager() as manager:
            before = manager.table.lookup("m", "")
            models.reference("m", max_batch_size=4)
            (models.root / "m/1/model.onnx").write_text("changed")
            await manager.reconcile()
            return before, manager.table.lookup("m", "")

    before, after = run(scenario())

    assert before is not after
    assert after.served.max_batch_size == 4


def test_reconciling_without_a_change_loads_nothing(models):
    models.reference("m")

    async def scenario():
        async with models.manager() as manager:
            before = manager.table.lookup("m", "")
            await manager.reconcile()
            return before is manager.table.lookup("m", "")

    assert run(scenario())


def test_a_model_is_unloaded_and_loaded_again(models):
    models.reference("m")

    async def scenario():
        async with models.manager() as manager:
            await manager.unload("m")
            gone = manager.table.is_ready("m", "")
            await manager.reconcile()
            still_gone, ready = manager.table.is_ready("m", ""), manager.ready
            await manager.load("m")
            return gone, still_gone, ready, manager.table.is_ready("m", "")

    assert run(scenario()) == (False, False, True, True)


def test_a_model_whose_directory_is_gone_is_let_go(models):
    models.reference("m")

    async def scenario():
        async with models.manager() as manager:
            shutil.rmtree(models.root / "m")
            await manager.reconcile()
            manager.table.lookup("m", "")

    with pytest.raises(NotFound):
        run(scenario())


def test_loading_what_is_not_there_fails_with_the_reason(models):
    models.reference("m")

    async def scenario():
        async with models.manager() as manager:
            await manager.load("nobody")

    with pytest.raises(Failed, match=r"failed to load 'nobody'.*not in the repository"):
        run(scenario())


def test_what_is_queued_when_a_model_leaves_is_answered(models):
    models.reference("m", more=DYNAMIC + '\nparameters = { delay_ms = "30" }')

    async def scenario():
        async with models.manager() as manager:
            model = manager.table.lookup("m", "")
            waiting = [asyncio.create_task(model.infer(request(value, rows=8))) for value in range(4)]
            await asyncio.sleep(0)
            await manager.unload("m")
            return [answer[0][0, 0] for answer in await asyncio.gather(*waiting)]

    assert run(scenario()) == [0, 1, 2, 3]


def test_clients_that_leave_mid_batch_do_not_disturb_their_neighbours(models):
    models.reference("m", more=DYNAMIC + '\nparameters = { delay_ms = "20" }')

    async def scenario():
        async with models.manager() as manager:
            model = manager.table.lookup("m", "")
            tasks = [asyncio.create_task(model.infer(request(value))) for value in range(64)]
            await asyncio.sleep(0.01)
            for task in tasks[::3]:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            return results, model.queue_depth

    results, depth = run(scenario())

    assert depth == 0
    for value, result in enumerate(results):
        if value % 3 == 0:
            assert isinstance(result, asyncio.CancelledError)
        else:
            assert result[0].tolist() == [[value, value]]


def test_a_failing_model_fails_its_own_requests_and_keeps_its_worker(models):
    models.reference("m", more=DYNAMIC + '\nparameters = { function = "fail" }\nmodel_warmup = []')
    models.reference("healthy")

    async def scenario():
        async with models.manager() as manager:
            return [reason for _, _, reason in manager.table.rows()]

    assert any("told to fail" in reason for reason in run(scenario()))


def test_the_statistics_count_every_request_once(models):
    models.reference("m", more=DYNAMIC)

    async def scenario():
        async with models.manager() as manager:
            model = manager.table.lookup("m", "")
            await asyncio.gather(*(model.infer(request(1, rows=2)) for _ in range(50)))
            return model.statistics

    counters = run(scenario())

    assert counters.success.count == counters.queue.count == 50
    assert counters.compute_input.count == counters.compute_infer.count == counters.compute_output.count == 50
    assert counters.inference_count == 100
    assert counters.execution_count == sum(batch.compute_infer.count for batch in counters.batches.values())
    assert counters.success.total_ns >= counters.queue.total_ns
