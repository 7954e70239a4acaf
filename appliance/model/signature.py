"""What a model file itself says it takes and gives, before any configuration."""

from dataclasses import dataclass

from appliance.model.datatype import Datatype


@dataclass(frozen=True, slots=True)
class SignatureTensor:
    """One input or output of the file; `shape` is complete (batch dimension included), -1 is variable."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    optional: bool = False  # the file carries a default for it


@dataclass(frozen=True, slots=True)
class ModelSignature:
    """Inputs and outputs of a model file, in the file's order."""

    inputs: tuple[SignatureTensor, ...]
    outputs: tuple[SignatureTensor, ...]
