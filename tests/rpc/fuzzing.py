"""Bad requests by the thousand: valid ones with a few things changed, bits flipped, or nothing but random bytes.

Everything follows from the seed of the `Random` that is passed in, so that a failure can be repeated.
"""

import json
import struct
from collections.abc import Callable
from random import Random

import numpy as np

from appliance.model.datatype import Datatype
from appliance.rpc.pb import grpc_service_pb2 as pb
from tests.rpc.wire import METHODS

SIZES = (0, -1, 1, 2, 3, 4, 5, 8, 9, 255, 65536, 2**31, 2**32, 2**61, 2**62, 2**63 - 1, -(2**63))
TEXTS = (
    "",
    " ",
    "INPUT0",
    "INPUT1",
    "OUTPUT0",
    "OUTPUT1",
    "\0",
    "ü☃",
    "%s{}",
    "../x",
    "a@b",
    "x" * 300,
    "y" * 20_000,
)
VERSIONS = ("", "-1", "1", "01", "+1", "2", "-7", "x", "1.5", "1_0", "٣", "9" * 30, "9223372036854775808")
KEYS = (
    *("priority", "timeout", "sequence_id", "sequence_start", "sequence_end", "classification", "mine", "headers"),
    *("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size", "binary_data_output", ""),
    *("triton_enable_empty_final_response", "triton_x"),
)
CONTENTS = tuple(field.name for field in pb.InferTensorContents.DESCRIPTOR.fields)
TYPES = (*(datatype.wire_name for datatype in Datatype), "", "FP8", "fp32", "TYPE_FP32")
CONFIGS = (
    *(
        '{"max_batch_size": "4"}',
        '{"max_batch_size": -1}',
        '{"max_batch_size": 65536}',
        "{",
        "",
        "[]",
        "null",
        "1e999",
    ),
    *('{"backend": "tensorrt"}', '{"platform": "\\u0000"}', '{"input": [{"name": "INPUT0", "dims": [0]}]}'),
    *('{"dynamic_batching": {"preferred_batch_size": [9]}}', '{"instance_group": [{"count": 3}]}', '{"nope": 1}'),
    *('{"version_policy": {"specific": {"versions": [9]}}}', '{"instance_group": [{"kind": "KIND_GPU"}]}'),
    *('{"parameters": {"intra_op_thread_count": {"string_value": "x"}}}', '{"ensemble_scheduling": {"step": []}}'),
    *('{"output": [{"name": "OUTPUT0", "label_filename": "../../etc/passwd"}]}', "[" * 5000, '{"name": "other"}'),
    json.dumps({"model_warmup": [{"name": "w", "inputs": {"INPUT0": {"dims": [10**12], "zero_data": True}}}]}),
)
SPARE = "spare"  # the model that may be loaded and unloaded


def valid_request(random: Random) -> pb.ModelInferRequest:
    """A request that would be answered."""
    kind = random.choice(("identity", "flat", "keeps", "add_sub", "optional", "labels"))
    datatype = random.choice(list(Datatype))
    message = pb.ModelInferRequest(id=random.choice(("", "", "a", "ü" * 20)))
    names = ["INPUT0"]
    if kind in ("identity", "flat", "keeps"):
        message.model_name = f"{kind}_{datatype.wire_name.lower()}"
        shape = [random.randint(0, 9)] if kind == "flat" else [random.randint(1, 8), 4]
    else:
        message.model_name = kind
        datatype = Datatype.INT32 if kind == "add_sub" else Datatype.FP32
        shape = [random.randint(1, 8), 16 if kind == "add_sub" else 4]
        names = ["INPUT0"] if kind == "labels" else ["INPUT0", "INPUT1"]
    for name in names:
        message.inputs.add(name=name, datatype=datatype.wire_name, shape=shape)
        message.raw_input_contents.append(tensor_data(random, datatype, int(np.prod(shape))))
    return message


def tensor_data(random: Random, datatype: Datatype, count: int) -> bytes:
    if datatype is not Datatype.BYTES:
        return random.randbytes(count * datatype.size_bytes)
    elements = (random.choice((b"", b"text", b"\0", "ü".encode(), b"\xff")) for _ in range(count))
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def bad_request(random: Random) -> bytes:
    """A request with up to four things changed; some of them still are good ones."""
    message = valid_request(random)
    for _ in range(random.randint(0, 4)):
        random.choice(_CHANGES)(random, message)
    return message.SerializeToString()


def flipped(random: Random, data: bytes) -> bytes:
    """The same bytes with a few bits flipped, some missing, or some more."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 6)):
        match random.randint(0, 3):
            case 0 if changed:
                del changed[random.randrange(len(changed)) :]
            case 1:
                at = random.randint(0, len(changed))
                changed[at:at] = random.randbytes(random.randint(1, 8))
            case _ if changed:
                changed[random.randrange(len(changed))] ^= 1 << random.randint(0, 7)
    return bytes(changed)


def bad_bytes(random: Random) -> bytes:
    """For ModelInfer: random bytes, or a request with bits flipped."""
    if random.random() < 0.3:
        return random.randbytes(random.choice((0, 1, 2, 10, 100, 5000)))
    return flipped(
        random, bad_request(random) if random.random() < 0.5 else valid_request(random).SerializeToString()
    )


def bad_call(random: Random) -> tuple[str, bytes]:
    """(method, bytes) for any method but ModelInfer."""
    method = random.choice([method for method in METHODS if method != "ModelInfer"])
    message = getattr(pb, f"{method}Request")()
    for field in message.DESCRIPTOR.fields:
        if field.type == field.TYPE_STRING and not field.is_repeated and random.random() < 0.7:
            model = field.name in ("name", "model_name")
            names = (SPARE, "identity_fp32", "two", *TEXTS) if "Repository" not in method else (SPARE, *TEXTS)
            setattr(
                message, field.name, random.choice(names if model else VERSIONS if field.name == "version" else ("",))
            )
        elif field.type == field.TYPE_BOOL:
            setattr(message, field.name, random.random() < 0.5)
    if method in ("RepositoryModelLoad", "RepositoryModelUnload") and random.random() < 0.7:
        key = random.choice(("config", "config", "config", "unload_dependents", "file:1/model.onnx", *TEXTS))
        _fill(random, message.parameters[key], random.choice(CONFIGS))
    data = message.SerializeToString()
    return method, flipped(random, data) if random.random() < 0.4 else data


def _fill(random: Random, parameter: pb.ModelRepositoryParameter, config: str) -> None:
    match random.randint(0, 5):
        case 0:
            parameter.bool_param = True
        case 1:
            parameter.bytes_param = random.randbytes(9)
        case 2:
            parameter.int64_param = random.choice(SIZES)
        case _:
            parameter.string_param = config


def _change_model(random: Random, message: pb.ModelInferRequest) -> None:
    message.model_name = random.choice((*TEXTS, message.model_name + "@x", "two", "add_sub", "identity_bytes"))


def _change_version(random: Random, message: pb.ModelInferRequest) -> None:
    message.model_version = random.choice(VERSIONS)


def _change_shape(random: Random, message: pb.ModelInferRequest) -> None:
    if message.inputs:
        length = random.choice((0, 1, 2, 2, 2, 3, 33, 2000))
        random.choice(message.inputs).shape[:] = random.choices(SIZES, k=length)


def _change_one_size(random: Random, message: pb.ModelInferRequest) -> None:
    tensors = [tensor for tensor in message.inputs if tensor.shape]
    if tensors:
        tensor = random.choice(tensors)
        tensor.shape[random.randrange(len(tensor.shape))] = random.choice(SIZES)


def _change_datatype(random: Random, message: pb.ModelInferRequest) -> None:
    if message.inputs:
        random.choice(message.inputs).datatype = random.choice(TYPES)


def _change_inputs(random: Random, message: pb.ModelInferRequest) -> None:
    match random.randint(0, 3):
        case 0 if message.inputs:
            message.inputs.append(random.choice(message.inputs))
        case 1 if message.inputs:
            del message.inputs[random.randrange(len(message.inputs))]
        case 2 if message.inputs:
            random.choice(message.inputs).name = random.choice(TEXTS)
        case _:
            message.inputs.add(name=random.choice(TEXTS), datatype="FP32", shape=[1, 4])


def _change_raw(random: Random, message: pb.ModelInferRequest) -> None:
    match random.randint(0, 3):
        case 0 if message.raw_input_contents:
            del message.raw_input_contents[random.randrange(len(message.raw_input_contents))]
        case 1 if message.raw_input_contents:
            at = random.randrange(len(message.raw_input_contents))
            message.raw_input_contents[at] = flipped(random, message.raw_input_contents[at])
        case 2:
            message.raw_input_contents.append(random.randbytes(random.choice((0, 4, 16, 100_000))))
        case _:
            del message.raw_input_contents[:]


def _change_contents(random: Random, message: pb.ModelInferRequest) -> None:
    if not message.inputs:
        return
    contents = random.choice(message.inputs).contents
    for kind in random.choices(CONTENTS, k=random.choice((0, 1, 1, 1, 2))):
        value = b"\xff\0" if kind == "bytes_contents" else random.choice((0, 1))
        getattr(contents, kind).extend([value] * random.choice((0, 1, 3, 4, 8, 16, 32)))
    if random.random() < 0.7:
        del message.raw_input_contents[:]


def _change_outputs(random: Random, message: pb.ModelInferRequest) -> None:
    output = message.outputs.add(name=random.choice(("OUTPUT0", "OUTPUT0", "OUTPUT1", *TEXTS)))
    if random.random() < 0.6:
        output.parameters["classification"].int64_param = random.choice(SIZES)
    _change_parameters(random, output)


def _change_input_parameters(random: Random, message: pb.ModelInferRequest) -> None:
    if message.inputs:
        _change_parameters(random, random.choice(message.inputs))


def _change_parameters(random: Random, message: "pb.ModelInferRequest | object") -> None:
    for _ in range(random.choice((0, 1, 1, 2))):
        parameter = message.parameters[random.choice(KEYS)]
        match random.randint(0, 5):
            case 0:
                parameter.bool_param = random.random() < 0.5
            case 1:
                parameter.int64_param = random.choice(SIZES)
            case 2:
                parameter.string_param = random.choice(TEXTS)
            case 3:
                parameter.double_param = random.choice((0.0, -1.5, float("nan"), float("inf")))
            case 4:
                parameter.uint64_param = abs(random.choice(SIZES))


_CHANGES: tuple[Callable[[Random, pb.ModelInferRequest], None], ...] = (
    *(_change_model, _change_version, _change_shape, _change_one_size, _change_datatype, _change_inputs),
    *(_change_raw, _change_contents, _change_outputs, _change_input_parameters, _change_parameters),
)
