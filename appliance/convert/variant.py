"""One form of the model with everything that was measured about it. Pure values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.convert.comparison import Comparison, Tolerance
from appliance.convert.precision import Form


@dataclass(frozen=True, slots=True)
class Latency:
    """Runs of one batch size in ONNX Runtime on this machine's CPU, one thread."""

    batch_size: int
    median_ms: float  # per batch
    runs: int


@dataclass(frozen=True, slots=True)
class Variant:
    """Where it lies, what it costs and how far it is from the source."""

    form: Form
    graphs: Mapping[str, Path]  # 'model' -> file, or 'encoder' and 'decoder'
    size_bytes: int
    comparisons: Sequence[Comparison]
    tolerance: Tolerance
    latencies: Sequence[Latency]
    verdict: str = ""  # why it was not chosen; empty if it can be used
    chosen: bool = False
    parser: str = ""  # what TensorRT's parser says, with --target tensorrt; empty if it was not asked

    @property
    def within_tolerance(self) -> bool:
        """Whether every comparison is."""
        return bool(self.comparisons) and all(
            comparison.difference.within(self.tolerance) for comparison in self.comparisons
        )
