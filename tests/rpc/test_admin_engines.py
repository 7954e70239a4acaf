"""What the administration service says of execution paths and of engines that are being built."""

import asyncio

from appliance.registry.directory_source import DirectorySource
from appliance.rpc.admin_service import AdminService
from appliance.rpc.pb import appliance_admin_pb2 as pb
from appliance.serving.engine_works import EngineWorks
from appliance.serving.model_manager import ModelManager
from tests.serving.conftest import ModelsDirectory
from tests.serving.workshop import WITH_GPU, Workshop, until, write_package


def admin(manager):
    return AdminService(
        manager,
        version="0",
        transport="none",
        state=lambda: "READY",
        listeners=list,
        settings=dict,
        reload=None,
        device=lambda: None,
        updates=None,
    ).service.unary


async def status(manager):
    (data,) = await admin(manager)["Status"](b"", None)
    (model,) = pb.StatusResponse.FromString(data).models
    return model


async def cancel(manager, name, version=""):
    request = pb.CancelEngineBuildRequest(name=name, version=version)
    (data,) = await admin(manager)["CancelEngineBuild"](request.SerializeToString(), None)
    return pb.CancelEngineBuildResponse.FromString(data).cancelled


def test_a_build_is_shown_with_its_progress_and_can_be_ended(tmp_path):
    (tmp_path / "models").mkdir()
    write_package(ModelsDirectory(tmp_path / "models"), '["tensorrt", "cpu"]')
    workshop = Workshop()

    async def scenario():
        works = EngineWorks(workshop, lambda cancelled: WITH_GPU)
        manager = ModelManager(DirectorySource(tmp_path / "models"), works, load_threads=1, load_attempts=2)
        await manager.reconcile()
        await until(lambda: any(build.progress for build in works.builds()))
        while_built = await status(manager)
        none = await cancel(manager, "another"), await cancel(manager, "mlp", "7")
        cancelled = await cancel(manager, "mlp", "1")
        await until(lambda: not works.builds())
        await until(lambda: "cancelled" in manager.table.lookup("mlp", "").device_note)
        after = await status(manager)
        await manager.close()
        return while_built, none, cancelled, after

    while_built, none, cancelled, after = asyncio.run(scenario())

    assert (while_built.state, while_built.execution_path, while_built.device) == (
        "READY",
        "cpu",
        "CPUExecutionProvider",
    )
    assert while_built.execution_asked == "require tensorrt, cpu"
    assert [(each.path, each.reason) for each in while_built.passed_over] == [
        ("tensorrt", "its engine is being built")
    ]
    assert (while_built.engine_build.phase, while_built.engine_build.elapsed_s) == ("Timing tactics", 12.0)
    assert while_built.engine_build.fraction == 0.25
    assert (none, cancelled) == ((0, 0), 1)
    assert not after.HasField("engine_build")
    assert [each.reason for each in after.passed_over] == ["the build of the engine was cancelled"]
