"""What the database knows of engines."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.model.engine import EngineKey, EnginePlatform, EngineRecord, ShapeRange
from appliance.registry.database import Database
from appliance.registry.engine_records import EngineRecords
from appliance.registry.migrations import MIGRATIONS
from appliance.registry.model_registry import ModelRegistry
from appliance.state_layout import StateLayout
from tests.registry.packages import DIGITS, ONE, add, write_package

KEY = EngineKey(
    onnx_digest="sha256:" + "1" * 64,
    platform=EnginePlatform("tensorrt", "10.16.1.11", "8.9", "NVIDIA L4", "GPU", "580.95.05"),
    profiles=({"image": ShapeRange((1, 3), (8, 3), (16, 3))},),
    precision="fp16",
    options={"workspace_bytes": "0"},
)
RECORD = EngineRecord(
    key=KEY.text,
    digest="sha256:" + "2" * 64,
    size_bytes=5 * 2**30,
    model="digits",
    version=2**63 - 1,
    facts=KEY.facts,
    build_s=570.5,
    build_peak_bytes=7 * 2**30,
    built_at=1000.5,
    used_at=1000.5,
)


@pytest.fixture
def records(tmp_path: Path) -> Iterator[EngineRecords]:
    with EngineRecords.open(tmp_path / "state" / "registry.db") as opened:
        yield opened


def test_a_row_comes_back_as_it_was_written(records: EngineRecords) -> None:
    records.record(RECORD)

    found = records.find(RECORD.key)

    assert found is not None
    assert replace(found, facts={}) == replace(RECORD, facts={})
    assert found.facts["platform"]["gpu_name"] == "NVIDIA L4"
    assert found.facts["profiles"] == [{"image": {"min": [1, 3], "opt": [8, 3], "max": [16, 3]}}]
    assert list(found.facts) == list(KEY.facts)
    assert records.all() == [found]


def test_what_is_not_there_is_not_found_and_may_be_forgotten(records: EngineRecords) -> None:
    records.forget(RECORD.key)
    records.used(RECORD.key, 1.0, 1)

    assert records.find(RECORD.key) is None
    assert records.all() == []


def test_a_row_replaces_the_one_with_the_same_key(records: EngineRecords) -> None:
    records.record(RECORD)
    records.record(replace(RECORD, digest="sha256:" + "3" * 64))

    assert [record.digest[7] for record in records.all()] == ["3"]


def test_use_sets_the_order_and_keeps_what_was_measured(records: EngineRecords) -> None:
    other = replace(RECORD, key="b" * 64, used_at=2000.0)
    records.record(other)
    records.record(RECORD)
    assert [record.key for record in records.all()] == [RECORD.key, other.key]

    records.used(RECORD.key, 3000.0, 123)
    records.used(RECORD.key, 3001.0, 0)

    assert [record.key for record in records.all()] == [other.key, RECORD.key]
    assert [(record.used_at, record.device_bytes) for record in records.all()] == [(2000.0, 0), (3001.0, 123)]


def test_they_outlive_the_process(tmp_path: Path) -> None:
    for _ in range(2):
        with EngineRecords.open(tmp_path / "registry.db") as records:
            before = len(records.all())
            records.record(RECORD)

    assert before == 1


def test_a_registry_from_before_engines_gets_the_table_and_keeps_its_models(
    layout: StateLayout, tmp_path: Path
) -> None:
    Database(layout.database).prepare(MIGRATIONS[:1])
    with ModelRegistry.open(layout) as registry:
        add(registry, write_package(tmp_path / "digits"))
    with EngineRecords.open(layout.database) as records:
        records.record(RECORD)

    with ModelRegistry.open(layout) as registry:
        assert set(registry.model(DIGITS).versions) == {ONE}
        assert registry.database.check() == ""


def test_the_first_migration_is_as_it_was_released() -> None:
    released = hashlib.sha256("\n".join(MIGRATIONS[0]).encode()).hexdigest()

    assert released == "4d09362fae195777efb9eb5da4a3c80744afe67e6d0437c7966d09a0a8ed3d65"
