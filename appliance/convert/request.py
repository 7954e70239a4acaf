"""What a person asked to be converted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.convert.precision import Precision, Target
from appliance.convert.task import Task
from appliance.model.identity import ModelName, ModelVersion


@dataclass(frozen=True, slots=True)
class ConversionRequest:
    """The options of `appliance convert`."""

    source: str  # as typed: it may be a hub id, which is refused in words of its own
    out: Path  # the package directory; its name is the model's
    name: ModelName
    version: ModelVersion
    licence: str  # SPDX
    task: Task | None = None  # None: from the source
    precisions: Sequence[Precision] = (Precision.FP32,)
    target: Target = Target.CPU
    samples: Path | None = None  # folder of the person's own inputs
    calibration: Path | None = None  # folder for static INT8; None: the samples
    allow_pickle: bool = False
    max_batch_size: int = 8
    base_model: str = ""  # where the weights came from, in the person's words
    intended_use: str = ""
    author: str = ""
    max_length: int = 0  # tokens; 0: as long as the model takes, at most 512
