"""What is measured: the models, the cases, and the repository that the daemon serves for them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.support import onnx_models

MAX_BATCH_SIZE = 32

MODEL_TOML = f"""\
max_batch_size = {MAX_BATCH_SIZE}

[dynamic_batching]
max_queue_delay_microseconds = 0

[[instance_group]]
count = 1
kind = "KIND_CPU"
"""


@dataclass(frozen=True, slots=True)
class BenchModel:
    """One FP32 model with one input and one output; dims are without the batch dimension."""

    name: str
    write: Callable[[Path], object]
    input_dims: tuple[int, ...]
    output_dims: tuple[int, ...]

    def file_in(self, repository: Path) -> Path:
        """Where the model file lies in a repository."""
        return repository / self.name / "1" / "model.onnx"


@dataclass(frozen=True, slots=True)
class Case:
    """One model under one load."""

    name: str
    title: str
    model: BenchModel
    concurrency: int
    computes: bool = False  # has an in-process peer: the model does real work
    protobuf_echo: bool = False  # has the peer that handles the tensors through protobuf objects


def _identity(name: str, elements: int) -> BenchModel:
    dims = (elements,)
    return BenchModel(name, lambda path: onnx_models.write_identity(path, "FP32", dims), dims, dims)


IDENTITY_TINY = _identity("identity-tiny", 16)
IDENTITY_LARGE = _identity("identity-large", 150528)
CNN = BenchModel("cnn", onnx_models.write_cnn, (3, 64, 64), (10,))
MLP = BenchModel("mlp", onnx_models.write_mlp, (1024,), (64,))

CASES = (
    Case("identity-tiny-c1", "identity FP32 [16], concurrency 1", IDENTITY_TINY, 1),
    Case("identity-tiny-c16", "identity FP32 [16], concurrency 16", IDENTITY_TINY, 16),
    Case(
        "identity-large-c4", "identity FP32 [150528] (602 KB), concurrency 4", IDENTITY_LARGE, 4, protobuf_echo=True
    ),
    Case("cnn-c1", "CNN 3x64x64, concurrency 1", CNN, 1, computes=True),
    Case("cnn-c8", "CNN 3x64x64, concurrency 8", CNN, 8, computes=True),
    Case("mlp-c1", "MLP 1024-4096-1024-64, concurrency 1", MLP, 1, computes=True),
    Case("mlp-c32", "MLP 1024-4096-1024-64, concurrency 32", MLP, 32, computes=True),
)


def write_repository(folder: Path, models: Iterable[BenchModel]) -> None:
    """Write `<folder>/<name>/model.toml` and `<folder>/<name>/1/model.onnx` for each model."""
    for model in set(models):
        model.file_in(folder).parent.mkdir(parents=True)
        (folder / model.name / "model.toml").write_text(MODEL_TOML)
        model.write(model.file_in(folder))
