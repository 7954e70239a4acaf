"""The result of a conversion, for the package, the report and --json. Pure values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from appliance.convert.comparison import Comparison
from appliance.convert.exported_model import ExportedModel
from appliance.convert.request import ConversionRequest
from appliance.convert.variant import Variant


@dataclass(frozen=True, slots=True)
class Conversion:
    """Everything that was found out."""

    request: ConversionRequest
    exported: ExportedModel
    source_digests: Mapping[str, str]  # file -> 'sha256:...'
    variants: Sequence[Variant]  # FP32 first
    machine: str  # processor, cores: where the latencies were measured

    @property
    def chosen(self) -> Variant:
        """The variant that the package serves by default."""
        return next(variant for variant in self.variants if variant.chosen)

    @property
    def validation(self) -> Sequence[Comparison]:
        """FP32 against the source."""
        return self.variants[0].comparisons
