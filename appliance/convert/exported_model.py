"""A source after its export: the FP32 graphs, the reference that they must agree with, and what a package tells."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.convert.samples import Array, Batch, Sample
from appliance.convert.task import Task
from appliance.model.engine import ShapeRange

Reference = Callable[[Mapping[str, Array]], Mapping[str, Array]]


@dataclass(frozen=True, slots=True)
class Graph:
    """One ONNX file of the model. Most models have one, named 'model'; speech models an 'encoder' and a 'decoder'."""

    name: str
    file: Path
    reference: Reference  # the source's own computation, on inputs and outputs of the same names
    samples: Sequence[Sample]  # at least one; real if the person brought some
    batches: Sequence[Batch]  # what the validation runs: several batch sizes and shapes
    profiles: Mapping[str, "ShapeRange"]  # by input
    batched: bool = True  # False: rows are not independent of each other, as in CLIP, so requests must not be joined
    calibration: Sequence[Sample] = ()  # for static INT8; empty: the samples serve


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """All that later steps need; they never look at the source again."""

    task: Task
    architecture: str  # 'ViTForImageClassification', 'Pipeline(StandardScaler, SVC)'
    graphs: Sequence[Graph]
    labels: Sequence[str]  # in the order of the classes; empty if there are none
    label_output: str  # the output that they name; empty if none
    samples_are_real: bool  # False: made by the converter, and the report says so
    preprocessing: Mapping[str, object]  # from the processor's own configuration
    processor_files: Sequence[Path]  # tokenizer.json, preprocessor_config.json ...: copied into the package
    tool_versions: Mapping[str, str]
    source_files: Sequence[Path] = ()  # that the source consists of beside the one that was named
    blank_token: int = 0  # of CTC models: stands for no token
    source_card: Path | None = None  # what the makers of the source say of it
