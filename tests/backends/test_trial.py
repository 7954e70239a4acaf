import logging
import random
import resource
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from onnx import TensorProto, helper

from appliance.backends.trial import Ending, judge, trial_load, try_model
from appliance.backends.trial_child import LOADING, RUNNING, RUNTIME_BYTES
from appliance.errors import Failed, InvalidInput
from appliance.model.config import ModelConfig
from appliance.model.datatype import Datatype
from appliance.model.signature import SignatureTensor
from tests.support import hostile_models, onnx_models

MEMORY_BYTES = 256 * 1024 * 1024
LIMIT_KIB = (MEMORY_BYTES + RUNTIME_BYTES) // 1024
TIMEOUT_S = 30
CONFIG = ModelConfig()
DIGITS = Path(__file__).parents[2] / "models" / "digits" / "1" / "model.onnx"
SOUND_ANSWER = {
    "outcome": "loaded",
    "note": "",
    "inputs": [],
    "outputs": [],
    "facts": {
        "ir_version": 8,
        "opsets": {},
        "producer": "",
        "operators": [],
        "node_count": 1,
        "external_files": [],
        "metadata": {},
    },
}


def attempt(model_file: Path, config: ModelConfig = CONFIG, memory_bytes: int = MEMORY_BYTES):
    return try_model(model_file, config, memory_bytes=memory_bytes, timeout_s=TIMEOUT_S)


def refusal(model_file: Path, memory_bytes: int = MEMORY_BYTES) -> str:
    with pytest.raises(InvalidInput) as caught:
        attempt(model_file, memory_bytes=memory_bytes)
    return str(caught.value)


def verdict(**facts) -> str:
    ending = {"exit_code": 0, "timed_out": False, "step": LOADING, "answer": {}, "last_words": "", **facts}
    with pytest.raises((InvalidInput, Failed)) as caught:
        judge(Ending(**ending), "model.onnx", 4 * 2**30, 300)
    return f"{type(caught.value).__name__}: {caught.value}"


def test_a_sound_model_loads_and_shows_its_signature_and_facts():
    report = attempt(DIGITS)

    assert report.signature.inputs == (SignatureTensor("pixel_values", Datatype.FP32, (-1, 1, 32, 32)),)
    assert report.signature.outputs == (SignatureTensor("logits", Datatype.FP32, (-1, 10)),)
    assert report.facts.operators == ("Add", "Conv", "Flatten", "Gemm", "GlobalAveragePool", "MaxPool", "Relu")
    assert report.note == ""


def test_trial_load_returns_the_signature_alone():
    signature = trial_load(DIGITS, CONFIG, memory_bytes=MEMORY_BYTES, timeout_s=TIMEOUT_S)

    assert [tensor.name for tensor in (*signature.inputs, *signature.outputs)] == ["pixel_values", "logits"]


@pytest.mark.parametrize("datatype", ["BYTES", "BF16", "BOOL", "FP16"])
def test_one_row_of_zeros_runs_in_every_kind_of_datatype(tmp_path, datatype):
    report = attempt(onnx_models.write_identity(tmp_path / "model.onnx", datatype, [3]))

    assert report.note == ""
    assert report.signature.inputs[0].datatype is Datatype.parse(datatype)


def test_weights_in_another_file_load(tmp_path):
    (tmp_path / "w.bin").write_bytes(bytes(64))

    report = attempt(hostile_models.write_external_data(tmp_path / "model.onnx", "w.bin"))

    assert report.facts.external_files == ("w.bin",)


def test_inspection_refuses_before_the_runtime_sees_the_file(tmp_path):
    message = refusal(hostile_models.write_external_data_outside(tmp_path / "model.onnx"))

    assert "'../../etc/passwd': which leaves the directory of the model" in message


def test_the_runtimes_reason_is_one_short_line_without_paths(tmp_path):
    message = refusal(hostile_models.write_unknown_operator(tmp_path / "model.onnx"))

    assert message.startswith("ONNX Runtime refuses model.onnx: ")
    assert message.endswith("No Op registered for NoSuchOperator with domain_version of 18")
    assert str(tmp_path) not in message
    assert "onnxruntime_src" not in message
    assert message.isprintable()


@pytest.mark.parametrize(
    ("make_type", "words"),
    [
        (lambda: helper.make_tensor_type_proto(TensorProto.COMPLEX64, [1]), "COMPLEX64"),
        (lambda: helper.make_tensor_type_proto(TensorProto.FLOAT8E4M3FN, [1]), "tensor(float8e4m3fn)"),
        (lambda: helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [1])), "seq("),
        (lambda: helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [1])), "optional("),
    ],
)
def test_a_type_without_a_name_in_the_protocol_is_refused_with_tensor_and_type(tmp_path, make_type, words):
    given = [helper.make_value_info(name, make_type()) for name in ("strange", "out")]
    graph = helper.make_graph([helper.make_node("Identity", ["strange"], ["out"])], "g", given[:1], given[1:])
    path = tmp_path / "model.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()
    )

    message = refusal(path)

    assert "'strange'" in message
    assert words in message


def reshape_to_six(path: Path) -> Path:
    nodes = [helper.make_node("Reshape", ["INPUT0", "shape"], ["OUTPUT0"])]
    inputs, outputs = [onnx_models.tensor("INPUT0", "FP32", ["N"])], [onnx_models.tensor("OUTPUT0", "FP32", [2, 3])]
    return onnx_models.write_graph(path, nodes, inputs, outputs, {"shape": np.array([2, 3], dtype=np.int64)})


def test_a_model_that_dislikes_one_row_of_zeros_is_not_refused_but_noted(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="appliance")

    report = attempt(reshape_to_six(tmp_path / "model.onnx"))

    assert "Reshape" in report.note
    assert report.note in caplog.text
    assert "onnxruntime_src" not in report.note


def test_variable_sizes_are_filled_from_the_configuration(tmp_path):
    config = ModelConfig.model_validate({"input": [{"name": "INPUT0", "dims": [6]}]})

    assert attempt(reshape_to_six(tmp_path / "model.onnx"), config).note == ""


@pytest.mark.parametrize("write", [hostile_models.write_load_bomb, hostile_models.write_run_bomb])
def test_a_bomb_of_200_bytes_is_refused_quickly_and_within_the_limit(tmp_path, write):
    path = write(tmp_path / "model.onnx")
    before_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    started_s = time.monotonic()

    message = refusal(path)

    assert path.stat().st_size < 250
    assert "needs more than 256 MiB (setting models.import_memory_bytes)" in message
    assert time.monotonic() - started_s < 5
    assert peak_kib() <= max(before_kib, LIMIT_KIB)


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def test_a_file_too_large_for_the_limit_is_not_called_damaged(tmp_path):
    path = tmp_path / "model.onnx"
    with path.open("wb") as stream:
        stream.truncate(MEMORY_BYTES)  # sparse

    assert "reading it needs more than 256 MiB" in refusal(path)


@pytest.mark.slow
def test_a_file_whose_parsed_form_explodes_is_refused_within_the_limit(tmp_path):
    nodes = b"\x0a\x00" * 6_000_000  # 12 MB of empty nodes, 600 MB once parsed
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x3a\x80\x9b\xdc\x05" + nodes)

    before_kib = peak_kib()

    message = refusal(path)  # the parser reports its lack of memory as damage, or runs out just afterwards

    assert "it is damaged" in message or "reading it needs more than 256 MiB" in message
    assert peak_kib() <= max(before_kib, LIMIT_KIB)


@pytest.mark.slow
def test_a_trial_that_takes_too_long_is_killed(tmp_path):
    path = hostile_models.write_run_bomb(tmp_path / "model.onnx")
    before = psutil.Process().children(recursive=True)  # of other tests
    started_s = time.monotonic()

    with pytest.raises(InvalidInput, match=r"takes longer than 0\.3 s \(setting models\.import_timeout_s\)"):
        try_model(path, CONFIG, memory_bytes=4 * 2**30, timeout_s=0.3)

    assert time.monotonic() - started_s < 3
    assert set(psutil.Process().children(recursive=True)) <= set(before)


def test_the_way_a_trial_ended_becomes_a_sentence():
    assert verdict(exit_code=-signal.SIGSEGV) == (
        "InvalidInput: model.onnx: loading it crashed the trial process (signal 11) "
        "(export the model again, with other versions of the exporter and of onnx)"
    )
    assert verdict(answer={"outcome": "memory"}) == (
        "InvalidInput: model.onnx: loading it needs more than 4.0 GiB (setting models.import_memory_bytes)"
    )
    assert "needs more than 4.0 GiB" in verdict(exit_code=-signal.SIGABRT, last_words="what(): std::bad_alloc")
    assert "most likely for lack of memory" in verdict(exit_code=-signal.SIGKILL, step=RUNNING)
    assert "loading it takes longer than 300 s" in verdict(exit_code=-signal.SIGKILL, timed_out=True)
    assert "loading it takes longer than 300 s" in verdict(exit_code=-signal.SIGXCPU)
    assert verdict(exit_code=1, last_words="Traceback\nImportError: no onnxruntime\n") == (
        "Failed: model.onnx: the trial process ended with exit code 1 while loading it: "
        "ImportError: no onnxruntime (what this box can run: appliance doctor)"
    )


def test_a_load_that_gave_constant_folding_up_for_lack_of_memory_is_refused():
    warning = "constant_folding.cc: Exception during constant folding of node '': std::bad_alloc. Skipping"

    assert "needs more than" in verdict(answer=SOUND_ANSWER, step=RUNNING, last_words=warning)


def test_a_trial_leaves_nothing_behind_and_heeds_nothing_beside_the_model(tmp_path, monkeypatch):
    home, package = tmp_path / "home", tmp_path / "package"
    home.mkdir()
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(home))
    path = onnx_models.write_identity(package / "model.onnx", "FP32", [3])
    for name in ("json.py", "numpy.py", "appliance.py", "sitecustomize.py"):
        (package / name).write_text("raise SystemExit('imported from beside the model')")
    before = sorted(package.iterdir())

    attempt(path)

    assert list(home.iterdir()) == []
    assert sorted(package.iterdir()) == before


@pytest.mark.slow
def test_trials_run_from_several_threads_at_once():
    with ThreadPoolExecutor(4) as pool:
        signatures = list(pool.map(lambda _: attempt(DIGITS).signature, range(4)))

    assert len(set(signatures)) == 1


@pytest.mark.slow
def test_a_cut_off_model_is_always_refused(tmp_path):
    content = DIGITS.read_bytes()
    path = tmp_path / "model.onnx"
    for cut in range(0, len(content), len(content) // 50 + 1):
        path.write_bytes(content[:cut])

        assert refusal(path)


@pytest.mark.slow
def test_200_models_with_one_wrong_byte_each_load_or_are_refused(tmp_path):
    content = bytearray(DIGITS.read_bytes())
    randomness = random.Random(7)
    path = tmp_path / "model.onnx"
    before_kib, started_s, refused = peak_kib(), time.monotonic(), 0
    # Half of them outside the weights, where a byte changes the structure.
    structure = [*range(200), *range(len(content) - 400, len(content))]
    for number in range(200):
        position = randomness.choice(structure) if number % 2 else randomness.randrange(len(content))
        mutated = bytearray(content)
        mutated[position] ^= randomness.randrange(1, 256)
        path.write_bytes(mutated)
        try:
            attempt(path)
        except InvalidInput:
            refused += 1

    assert 0 < refused < 200
    assert peak_kib() <= max(before_kib, LIMIT_KIB)
    assert time.monotonic() - started_s < 200 * TIMEOUT_S
