"""Engines built by TensorRT-RTX for real, for a GPU that need not be here: once, and again when anything changed."""

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from appliance.backends.cuda.gpu import Gpu
from appliance.backends.tensorrt.build_request import BuildProgress
from appliance.backends.tensorrt.engine_identity import model_digest
from appliance.backends.tensorrt.engine_store import EngineStore
from appliance.backends.tensorrt.engine_supply import WAITING, EngineSupply
from appliance.backends.tensorrt.engine_target import EngineTarget, gpu_target, named_target
from appliance.backends.tensorrt.flavour import TENSORRT_RTX, choose_flavour
from appliance.errors import Cancelled, Failed, InvalidInput
from appliance.model.config import ModelConfig
from appliance.model.engine import EnginePlatform
from appliance.registry.engine_records import EngineRecords
from appliance.settings import EngineSettings
from appliance.state_layout import StateLayout
from tests.backends.tensorrt.engines import (
    SomeVersion,
    content_of,
    digest,
    files_below,
    needs_tensorrt_rtx,
    opened_store,
    silent,
)
from tests.support.deep_model import write_deep
from tests.support.onnx_models import write_mlp

pytestmark = needs_tensorrt_rtx

SETTINGS = EngineSettings()
PROFILE = {
    "trt_profile_min_shapes": "INPUT0:1x16",
    "trt_profile_opt_shapes": "INPUT0:2x16",
    "trt_profile_max_shapes": "INPUT0:4x16",
}
Obtained = tuple[bool, bytes, str]  # whether it was cached, the engine, its key


@pytest.fixture(scope="module")
def target() -> EngineTarget:
    return named_target(choose_flavour(TENSORRT_RTX), "8.9")


@pytest.fixture
def layout(tmp_path: Path) -> StateLayout:
    return StateLayout(tmp_path / "state")


@pytest.fixture
def store(layout: StateLayout) -> Iterator[EngineStore]:
    with opened_store(layout) as made:
        yield made


@pytest.fixture
def version(tmp_path: Path) -> SomeVersion:
    return SomeVersion(write_mlp(tmp_path / "some" / "1" / "model.onnx", (16, 16, 4)))


def configured(version: SomeVersion, parameters: dict[str, str], max_batch_size: int | None = None) -> SomeVersion:
    document = {"parameters": parameters, "max_batch_size": max_batch_size}
    return replace(version, config=ModelConfig.model_validate(document))


def obtain(
    store: EngineStore, target: EngineTarget, version: SomeVersion, settings: EngineSettings = SETTINGS
) -> Obtained:
    engine = EngineSupply(store, target, settings).obtain(version, silent, threading.Event())
    content = content_of(engine.file)
    assert content is not None
    assert engine.record.digest == digest(content)
    return engine.cached, content, engine.record.key


def leaves_nothing(store: EngineStore) -> None:
    assert [path for path in store.directory.iterdir() if path.name != "timing"] == []
    assert store.records() == []


def test_the_second_time_it_is_there_with_the_very_same_bytes(
    store: EngineStore, target: EngineTarget, version: SomeVersion
) -> None:
    first, second = obtain(store, target, version), obtain(store, target, version)

    assert first[0] is False
    assert second == (True, *first[1:])
    (kept,) = store.records()
    assert kept.built_at < kept.used_at or kept.used_at == 1000.0
    assert kept.build_peak_bytes > 50 * 2**20
    assert kept.facts["onnx_digest"] == digest(version.model_file.read_bytes())


def test_another_model_with_the_same_file_shares_it(
    store: EngineStore, target: EngineTarget, version: SomeVersion, tmp_path: Path
) -> None:
    obtain(store, target, version)
    other = tmp_path / "other" / "7" / "net.onnx"
    other.parent.mkdir(parents=True)
    other.write_bytes(version.model_file.read_bytes())

    assert obtain(store, target, SomeVersion(other, name="other", version=7))[0] is True


def test_finding_never_builds(store: EngineStore, target: EngineTarget, version: SomeVersion) -> None:
    supply = EngineSupply(store, target, SETTINGS)
    assert supply.find(version) is None

    supply.build(version, silent, threading.Event())

    found = supply.find(version)
    assert found is not None
    assert found.flavour == "tensorrt-rtx"
    found.close()


Change = Callable[[SomeVersion, EngineTarget], tuple[SomeVersion, EngineTarget, EngineSettings]]


def platform(**changes: str) -> Change:
    """Anything that is only told: nothing of it changes what the builder does here."""
    return lambda version, target: (version, replace(target, platform=replace(target.platform, **changes)), SETTINGS)


def capability(version: SomeVersion, target: EngineTarget) -> tuple[SomeVersion, EngineTarget, EngineSettings]:
    return version, named_target(target.flavour, "12.0"), SETTINGS


def written_profile(version: SomeVersion, target: EngineTarget) -> tuple[SomeVersion, EngineTarget, EngineSettings]:
    return configured(version, PROFILE), target, SETTINGS


def second_profile(version: SomeVersion, target: EngineTarget) -> tuple[SomeVersion, EngineTarget, EngineSettings]:
    return configured(version, {name: f"{text},{text}" for name, text in PROFILE.items()}), target, SETTINGS


def batch_size(version: SomeVersion, target: EngineTarget) -> tuple[SomeVersion, EngineTarget, EngineSettings]:
    return configured(version, {}, 16), target, SETTINGS


def workspace(version: SomeVersion, target: EngineTarget) -> tuple[SomeVersion, EngineTarget, EngineSettings]:
    return configured(version, {"trt_max_workspace_size": "1073741824"}), target, SETTINGS


def level_of_model(version: SomeVersion, target: EngineTarget) -> tuple[SomeVersion, EngineTarget, EngineSettings]:
    return configured(version, {"trt_builder_optimization_level": "1"}), target, SETTINGS


def level_of_box(version: SomeVersion, target: EngineTarget) -> tuple[SomeVersion, EngineTarget, EngineSettings]:
    return version, target, EngineSettings(optimization_level=2)


def onnx_bytes(version: SomeVersion, target: EngineTarget) -> tuple[SomeVersion, EngineTarget, EngineSettings]:
    model = onnx.load(version.model_file)
    model.producer_version = "another"
    onnx.save(model, version.model_file)
    return version, target, SETTINGS


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(change, id=name)
        for name, change in {
            "onnx bytes": onnx_bytes,
            "compute capability": capability,
            "flavour": platform(flavour="tensorrt"),
            "flavour version": platform(flavour_version="1.8.0.1"),
            "GPU name": platform(gpu_name="NVIDIA L4"),
            "GPU class": platform(gpu_class="MIG"),
            "driver": platform(driver="580.95.05"),
            "L4T": platform(l4t="38.2.0"),
            "profile": written_profile,
            "second profile": second_profile,
            "batch size": batch_size,
            "workspace": workspace,
            "level of the model": level_of_model,
            "level of the box": level_of_box,
        }.items()
    ],
)
def test_each_part_of_the_key_that_changes_is_a_new_build(
    store: EngineStore, target: EngineTarget, version: SomeVersion, change: Change
) -> None:
    first = obtain(store, target, version)
    original = version.model_file.read_bytes()

    changed_version, changed_target, settings = change(version, target)
    changed = obtain(store, changed_target, changed_version, settings)

    assert changed[0] is False
    assert changed[2] != first[2]
    assert obtain(store, changed_target, changed_version, settings) == (True, *changed[1:])
    version.model_file.write_bytes(original)
    assert obtain(store, target, version) == (True, *first[1:])


@pytest.mark.slow
def test_weights_in_another_file_are_part_of_the_key(
    store: EngineStore, target: EngineTarget, version: SomeVersion
) -> None:
    file = version.model_file
    onnx.save(onnx.load(file), file, save_as_external_data=True, location="weights", size_threshold=0)
    weights = file.parent / "weights"
    first = obtain(store, target, version)
    assert obtain(store, target, version)[0] is True

    content = bytearray(weights.read_bytes())
    content[3] ^= 1
    weights.write_bytes(content)
    second = obtain(store, target, version)

    assert second[0] is False
    assert second[2] != first[2]
    assert second[1] != first[1]


def test_hidden_files_beside_a_model_are_no_part_of_it(version: SomeVersion) -> None:
    before = model_digest(version.model_file)
    (version.model_file.parent / ".DS_Store").write_bytes(b"x")
    (version.model_file.parent / ".git").mkdir()
    (version.model_file.parent / ".git" / "x").write_bytes(b"x")

    assert model_digest(version.model_file) == before


def test_what_leads_elsewhere_beside_a_model_is_refused(version: SomeVersion, tmp_path: Path) -> None:
    (version.model_file.parent / "weights").symlink_to(tmp_path)

    with pytest.raises(InvalidInput, match="symbolic link"):
        model_digest(version.model_file)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["a byte", "truncated", "symlink", "foreign engine", "no file", "no row"])
def test_an_engine_that_cannot_be_trusted_is_built_again(
    store: EngineStore, target: EngineTarget, version: SomeVersion, damage: str
) -> None:
    first = obtain(store, target, version)
    foreign = obtain(store, target, configured(version, PROFILE))
    file = store.directory / first[2] / "engine"
    file.chmod(0o644)
    match damage:
        case "a byte":
            file.write_bytes(first[1][:1000] + bytes([first[1][1000] ^ 1]) + first[1][1001:])
        case "truncated":
            os.truncate(file, len(first[1]) - 1)
        case "symlink":
            file.rename(store.directory / "elsewhere")
            file.symlink_to(store.directory / "elsewhere")
        case "foreign engine":
            file.write_bytes(foreign[1])
        case "no file":
            file.unlink()
        case "no row":
            store.ledger.forget(first[2])

    again = obtain(store, target, version)

    assert again[0] is False
    assert obtain(store, target, version) == (True, *again[1:])
    assert not file.is_symlink()
    assert digest(file.read_bytes()) == digest(again[1])


def test_two_that_ask_at_the_same_time_build_it_once(
    layout: StateLayout, target: EngineTarget, tmp_path: Path
) -> None:
    version = SomeVersion(write_deep(tmp_path / "deep" / "1" / "model.onnx", 100))
    building, waited, found = threading.Event(), threading.Event(), []

    def first_hears(progress: BuildProgress) -> None:
        building.set()
        if progress.phase == "parsing the graph":
            assert waited.wait(30)

    def second_hears(progress: BuildProgress) -> None:
        if progress.phase == WAITING:
            waited.set()

    def ask(hears: Callable[[BuildProgress], None]) -> None:
        with opened_store(layout) as store:
            engine = EngineSupply(store, target, SETTINGS).obtain(version, hears, threading.Event())
            found.append((engine.cached, content_of(engine.file)))

    threads = [threading.Thread(target=ask, args=(hears,)) for hears in (first_hears, second_hears)]
    threads[0].start()
    assert building.wait(30)
    threads[1].start()
    for thread in threads:
        thread.join(60)

    assert [cached for cached, _ in found] == [False, True]
    assert found[0][1] == found[1][1]


def test_a_build_that_is_cancelled_leaves_nothing(store: EngineStore, target: EngineTarget, tmp_path: Path) -> None:
    version = SomeVersion(write_deep(tmp_path / "deep" / "1" / "model.onnx", 600))
    cancelled = threading.Event()

    def cancel(progress: BuildProgress) -> None:
        if progress.phase == "building the engine":
            cancelled.set()

    with pytest.raises(Cancelled):
        EngineSupply(store, target, SETTINGS).obtain(version, cancel, cancelled)

    leaves_nothing(store)


def test_a_model_that_tensorrt_refuses_leaves_nothing(
    store: EngineStore, target: EngineTarget, version: SomeVersion
) -> None:
    version.model_file.write_bytes(b"no model at all")

    with pytest.raises(InvalidInput):
        obtain(store, target, version)
    leaves_nothing(store)


def test_a_model_that_changes_meanwhile_gives_no_engine(
    store: EngineStore, target: EngineTarget, version: SomeVersion
) -> None:
    def change(progress: BuildProgress) -> None:
        if progress.phase == "writing it to disk":
            version.model_file.write_bytes(version.model_file.read_bytes() + b"\0")

    with pytest.raises(InvalidInput, match="changed while its engine was built"):
        EngineSupply(store, target, SETTINGS).obtain(version, change, threading.Event())
    leaves_nothing(store)


def test_without_the_memory_no_build_begins(store: EngineStore, target: EngineTarget, version: SomeVersion) -> None:
    supply = EngineSupply(store, target, SETTINGS, free_memory=lambda: 100 * 2**20)

    with pytest.raises(Failed, match=r"not enough memory .*'some': about 512 MiB needed, 100 MiB free"):
        supply.obtain(version, silent, threading.Event())
    leaves_nothing(store)


def test_without_room_on_the_disk_no_build_begins(
    small_disk: Path, tmp_path: Path, target: EngineTarget, version: SomeVersion
) -> None:
    with EngineRecords.open(tmp_path / "registry.db") as records:
        store = EngineStore(small_disk / "engines", records, largest_bytes=1 << 30)
        store.open_store()
        message = r"not enough room .*about 8 MiB needed, 1 MiB free \(make room, .*appliance models gc.*prune"
        with pytest.raises(Failed, match=message):
            obtain(store, target, version)

        leaves_nothing(store)


@pytest.mark.slow
def test_the_cache_is_bounded_and_the_newest_always_stays(
    layout: StateLayout, target: EngineTarget, version: SomeVersion
) -> None:
    with opened_store(layout) as store:
        size_bytes = len(obtain(store, target, version)[1])
        store.prune(0)
    with opened_store(layout, largest_bytes=size_bytes + size_bytes // 2) as store:
        keys = [obtain(store, named_target(target.flavour, each), version)[2] for each in ("8.0", "8.6", "8.9")]

        assert [kept.key for kept in store.records()] == keys[2:]
        assert files_below(store.directory / keys[2]) == ["engine"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"trt_max_workspace_size": "1GB"}, "trt_max_workspace_size: found '1GB', expected a whole number"),
        ({"trt_builder_optimization_level": "6"}, "found '6', expected a whole number up to 5"),
        ({"trt_profile_min_shapes": "INPUT0:1x16"}, "trt_profile shapes of 'INPUT0'"),
    ],
)
def test_a_wrong_parameter_is_named_before_anything_is_built(
    store: EngineStore, target: EngineTarget, version: SomeVersion, parameters: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        obtain(store, target, configured(version, parameters))
    leaves_nothing(store)


def test_an_engine_for_a_gpu_of_this_box_is_known_by_all_that_it_depends_on(target: EngineTarget) -> None:
    slice_of_gpu = Gpu(0, "MIG-123", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "9.0", 10 * 2**30, integrated=False)

    made = gpu_target(target.flavour, slice_of_gpu, "580.95.05", "38.2.0")

    version = target.flavour.version
    name = "NVIDIA H100 80GB HBM3 MIG 1g.10gb"
    expected = EnginePlatform("tensorrt-rtx", version, "9.0", name, "MIG", "580.95.05", "38.2.0")
    assert (made.platform, made.gpu_uuid) == (expected, "MIG-123")


@pytest.mark.parametrize("text", ["89", "8.9.0", "sm_89", "", "0.5", "8.95"])
def test_what_is_no_compute_capability_is_refused(target: EngineTarget, text: str) -> None:
    with pytest.raises(InvalidInput, match="is no compute capability, expected two numbers such as"):
        named_target(target.flavour, text)


def test_a_compute_capability_that_is_not_known_is_refused_with_those_that_are(
    store: EngineStore, target: EngineTarget, version: SomeVersion
) -> None:
    with pytest.raises(InvalidInput, match=r"9.9, only for 7.5, 8.0"):
        obtain(store, named_target(target.flavour, "9.9"), version)
    leaves_nothing(store)
