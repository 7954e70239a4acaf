"""Completing a configuration from the model file."""

import pytest

from appliance.errors import InvalidInput
from appliance.model.config import InstanceKind, ModelConfig
from appliance.model.config_completion import complete_config, served_model
from appliance.model.datatype import Datatype
from appliance.model.signature import ModelSignature, SignatureTensor

BATCHED = ModelSignature(
    (SignatureTensor("x", Datatype.FP32, (-1, 3)), SignatureTensor("bias", Datatype.FP32, (-1, 1), optional=True)),
    (SignatureTensor("y", Datatype.INT64, (-1,)),),
)
FIXED = ModelSignature((SignatureTensor("x", Datatype.FP32, (2, 3)),), (SignatureTensor("y", Datatype.FP32, ()),))


def complete(signature=BATCHED, **fields):
    config = ModelConfig.model_validate(fields)
    return complete_config(
        config, signature, name="m", backend="onnxruntime", platform="onnxruntime_onnx", filename="model.onnx"
    )


def test_an_empty_configuration_takes_everything_from_a_file_with_a_batch_dimension():
    config = complete()

    assert config.max_batch_size == 4
    assert config.dynamic_batching.preferred_batch_size == (4,)
    assert [(tensor.name, tensor.data_type, tensor.dims) for tensor in config.input] == [
        ("x", Datatype.FP32, (3,)),
    ]
    assert config.output[0].dims == ()
    assert config.version_policy.latest.num_versions == 1
    assert (config.instance_group[0].name, config.instance_group[0].kind) == ("m", InstanceKind.CPU)


def test_a_file_without_a_batch_dimension_is_served_as_it_is():
    config = complete(FIXED)

    assert config.max_batch_size == 0
    assert config.dynamic_batching is None
    assert config.input[0].dims == (2, 3)


def test_dims_may_be_narrower_than_the_file_but_not_other():
    wide = ModelSignature((SignatureTensor("x", Datatype.FP32, (-1, -1)),), BATCHED.outputs)

    assert complete(wide, max_batch_size=2, input=[{"name": "x", "dims": [5]}]).input[0].dims == (5,)


def test_what_the_file_has_a_default_for_is_an_input_only_if_it_is_listed():
    weights = ModelSignature(
        (*BATCHED.inputs, SignatureTensor("w", Datatype.FP32, (3, 5), optional=True)), BATCHED.outputs
    )

    config = complete(weights, input=[{"name": "x"}, {"name": "bias"}])

    assert config.max_batch_size == 4
    assert [tensor.name for tensor in config.input] == ["x", "bias"]
    assert served_model(config, weights, {}).required_inputs == ["x"]


def test_specs_know_which_inputs_may_be_left_out_and_the_labels():
    config = complete(output=[{"name": "y", "label_filename": "labels.txt"}])

    served = served_model(config, BATCHED, {"labels.txt": ("cat", "dog")})

    assert served.required_inputs == ["x"]
    assert served.outputs["y"].labels == ("cat", "dog")


@pytest.mark.parametrize(
    ("signature", "fields", "reason"),
    [
        (FIXED, {"max_batch_size": 4}, "first dimension of 'x' is not variable: the model file has"),
        (FIXED, {"dynamic_batching": {}}, "dynamic_batching needs a batch dimension"),
        (BATCHED, {"input": [{"name": "z"}]}, "names input 'z', but the file has"),
        (BATCHED, {"output": [{"name": "z"}]}, "names output 'z'"),
        (
            BATCHED,
            {"input": [{"name": "x", "data_type": "TYPE_INT8"}]},
            "says TYPE_INT8, the model file has TYPE_FP32",
        ),
        (
            BATCHED,
            {"input": [{"name": "x", "dims": [4]}]},
            r"says dims \[4\], the model file has \[3\] after the batch",
        ),
    ],
)
def test_a_contradiction_names_the_tensor_and_both_sides(signature, fields, reason):
    with pytest.raises(InvalidInput, match=reason):
        complete(signature, **fields)
