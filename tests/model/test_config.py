"""ModelConfig: what its three written forms mean, and what is refused by name."""

import pytest

from appliance.errors import InvalidInput
from appliance.model.config import InstanceKind, ModelConfig
from appliance.model.config_text import (
    config_from_json,
    config_from_pbtxt,
    config_from_proto,
    config_from_toml,
    config_to_json,
    config_to_proto,
)
from appliance.model.datatype import Datatype
from appliance.model.execution import Execution, ExecutionPath

TOML = """
max_batch_size = 8
execution = "prefer"
description = "a model"
parameters = { intra_op_thread_count = 2 }
[[input]]
name = "x"
data_type = "TYPE_FP32"
dims = [3, -1]
[[instance_group]]
kind = "KIND_CPU"
count = 2
[dynamic_batching]
preferred_batch_size = [4, 8]
max_queue_delay_microseconds = 100
priority_levels = 2
default_priority_level = 1
[dynamic_batching.default_queue_policy]
timeout_action = "DELAY"
max_queue_size = 7
"""

PBTXT = """
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 3, -1 ] } ]
instance_group [ { kind: KIND_CPU count: 2 } ]
parameters { key: "intra_op_thread_count" value: { string_value: "2" } }
dynamic_batching {
  preferred_batch_size: [ 4, 8 ]
  max_queue_delay_microseconds: 100
  priority_levels: 2
  default_priority_level: 1
  default_queue_policy { timeout_action: DELAY max_queue_size: 7 }
}
"""


def test_toml_and_pbtxt_say_the_same_thing():
    ours = config_from_toml(TOML, "model.toml")
    tritons = config_from_pbtxt(PBTXT, "config.pbtxt")

    assert ours.model_copy(update={"execution": Execution(), "description": ""}) == tritons
    assert ours.input[0].data_type is Datatype.FP32
    assert ours.instance_group[0].kind is InstanceKind.CPU
    assert ours.parameter("intra_op_thread_count") == "2"


def test_a_configuration_survives_the_way_to_the_wire_and_back():
    config = config_from_toml(TOML, "model.toml")

    message = config_to_proto(config)

    assert message.dynamic_batching.preferred_batch_size == [4, 8]
    assert message.parameters["execution"].string_value == "prefer"
    assert message.parameters["description"].string_value == "a model"
    assert '"max_batch_size":8' in config_to_json(config)


@pytest.mark.parametrize(
    ("text", "wire", "permitted"),
    [
        ("execution = 'require'", "require", ""),
        ("execution = 'prefer'", "prefer", ""),
        ("execution = ['tensorrt', 'cuda', 'cpu']", "require tensorrt, cuda, cpu", "tensorrt cuda cpu"),
        ("execution = { require = 'tensorrt' }", "require tensorrt", "tensorrt"),
        ("execution = { prefer = ['tensorrt', 'cuda'] }", "prefer tensorrt, cuda", "tensorrt cuda cpu"),
        ("execution = 'prefer cuda'", "prefer cuda", "cuda cpu"),
    ],
)
def test_execution_has_several_written_forms_and_one_on_the_wire(text, wire, permitted):
    config = config_from_toml(text, "model.toml")

    message = config_to_proto(config)

    assert message.parameters["execution"].string_value == config.execution.text == wire
    assert config_from_proto(message, "wire").execution == config.execution
    assert config.execution.permitted == tuple(map(ExecutionPath, permitted.split()))


def test_json_may_write_numbers_as_strings():
    assert config_from_json('{"max_batch_size": "16", "dynamicBatching": {}}', "config").max_batch_size == 16


def test_an_empty_configuration_is_a_configuration():
    assert config_from_toml("", "model.toml") == ModelConfig()


def test_a_pbtxt_that_lists_its_inputs_means_no_batching_when_it_names_no_batch_size():
    assert config_from_pbtxt('input { name: "x" data_type: TYPE_FP32 dims: 1 }', "c").max_batch_size == 0
    assert config_from_pbtxt('platform: "onnxruntime_onnx"', "c").max_batch_size is None


@pytest.mark.parametrize(
    ("text", "field", "reason"),
    [
        ("max_batch_sise = 8", "max_batch_sise", "Extra inputs"),
        ("max_batch_size = -1", "max_batch_size", "greater than or equal to 0"),
        ('input = [{name = "x", data_type = "FLOAT"}]', "input.0.data_type", "unknown datatype 'FLOAT'"),
        ("max_batch_size = 0\ndynamic_batching = {}", "configuration", "needs max_batch_size of 1 or more"),
        (
            "max_batch_size = 4\ndynamic_batching = { preferred_batch_size = [8] }",
            "configuration",
            "preferred_batch_size 8 is larger than max_batch_size 4",
        ),
        (
            "max_batch_size = 4\ndynamic_batching = { priority_levels = 2, default_priority_level = 3 }",
            "dynamic_batching",
            "default_priority_level is 3, expected 1 to 2",
        ),
        ('input = [{name = "x"}, {name = "x"}]', "configuration", "appears twice"),
        ("sequence_batching = {}", "configuration", "sequence_batching is not supported"),
        ("ensemble_scheduling = {}", "configuration", "ensemble_scheduling is not supported"),
        ("response_cache = { enable = true }", "configuration", "response_cache is not supported"),
        ("model_transaction_policy = { decoupled = true }", "configuration", "decoupled"),
        ('instance_group = [{ kind = "KIND_MODEL" }]', "instance_group.0.kind", "KIND_MODEL is not supported"),
        ("version_policy = { latest = {}, all = {} }", "version_policy", "expected one of latest, all, specific"),
        ("execution = 'whatever'", "execution", "'require' or 'prefer'"),
        ("execution = ['tensorrt', 'rocm']", "execution.paths.1", "'tensorrt', 'cuda' or 'cpu'"),
        ("execution = ['cuda', 'cuda']", "execution", "appears twice"),
        ("execution = { demand = ['cuda'] }", "execution", "found demand, expected 'require' or 'prefer'"),
        (
            "execution = 'require tensorrt'\ninstance_group = [{ kind = 'KIND_CPU' }]",
            "configuration",
            "instance_group says KIND_CPU, but execution names tensorrt",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_with_field_and_reason(text, field, reason):
    with pytest.raises(InvalidInput) as refusal:
        config_from_toml(text, "model.toml")

    assert str(refusal.value).startswith(f"model.toml: {field}: ")
    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    ("read", "text", "what"),
    [
        (config_from_toml, "max_batch_size = ", "not valid TOML"),
        (config_from_pbtxt, "max_batch_size = 3 {", "not a Triton model configuration"),
        (config_from_json, '{"max_batch_size": {}}', "not a Triton model configuration"),
    ],
)
def test_text_that_is_no_configuration_is_refused_with_its_place(read, text, what):
    with pytest.raises(InvalidInput, match=what):
        read(text, "here")
