"""ModelConfig: how one model is to be served, in Triton's words.

The field names and meanings are those of Triton's `model_config.proto`, so that a `config.pbtxt` and a `model.toml`
say the same thing. Three fields are ours (`description`, `licence`, `execution`); on the wire they travel in
`parameters`. What this build cannot do is refused by name, never ignored.
"""

from enum import Enum
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from appliance.errors import InvalidInput
from appliance.model.datatype import Datatype
from appliance.model.execution import Execution, ExecutionPath

DEFAULT_MAX_QUEUE_SIZE = 1024  # requests; bounded by default so that overload is refused early, not felt late
DEFAULT_MAX_BATCH_SIZE = 4  # Triton's default-max-batch-size, when the file shows a batch dimension and nobody says

PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InstanceKind(Enum):
    """Where the instances of a group run."""

    AUTO = "KIND_AUTO"
    GPU = "KIND_GPU"
    CPU = "KIND_CPU"


class TimeoutAction(Enum):
    """What becomes of a request that waited too long in the queue."""

    REJECT = "REJECT"
    DELAY = "DELAY"  # it goes behind all others


def _parse_datatype(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return Datatype.parse(value)
    except InvalidInput as error:
        raise ValueError(str(error)) from error  # so that pydantic names the field


DatatypeField = Annotated[Datatype, BeforeValidator(_parse_datatype)]


def _check_package_path(value: str) -> str:
    """A file of the package and nothing else: clients can send configurations too."""
    if value.startswith("/") or ".." in value.split("/") or not value.isprintable():
        raise ValueError(f"'{value}' leads out of the package, expected the path of a file in it")
    return value


PackagePath = Annotated[str, AfterValidator(_check_package_path)]


class ModelInput(_Part):
    """One input; what is left out is completed from the model file. `dims` is without the batch dimension."""

    name: str
    data_type: DatatypeField | None = None
    dims: tuple[int, ...] | None = None
    format: Literal["FORMAT_NONE", "FORMAT_NHWC", "FORMAT_NCHW"] = "FORMAT_NONE"
    optional: bool = False


class ModelOutput(_Part):
    """One output; `label_filename` names a file of the package with one label per line."""

    name: str
    data_type: DatatypeField | None = None
    dims: tuple[int, ...] | None = None
    label_filename: PackagePath = ""


class QueuePolicy(_Part):
    """Bounds of one queue. `max_queue_size` counts requests; 0 means the default of 1024."""

    timeout_action: TimeoutAction = TimeoutAction.REJECT
    default_timeout_microseconds: NonNegativeInt = 0
    allow_timeout_override: bool = False
    max_queue_size: NonNegativeInt = 0

    @property
    def queue_limit(self) -> int:
        """Requests that may wait."""
        return self.max_queue_size or DEFAULT_MAX_QUEUE_SIZE


class DynamicBatching(_Part):
    """Join requests into batches. Responses of one stream always keep their order."""

    preferred_batch_size: tuple[PositiveInt, ...] = ()
    max_queue_delay_microseconds: NonNegativeInt = 0
    preserve_ordering: bool = False
    priority_levels: Annotated[int, Field(ge=0, le=1000)] = 0
    default_priority_level: NonNegativeInt = 0
    default_queue_policy: QueuePolicy = QueuePolicy()
    priority_queue_policy: dict[int, QueuePolicy] = {}

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        if not self.priority_levels and self.default_priority_level:
            raise ValueError(f"default_priority_level is {self.default_priority_level}, but priority_levels is 0")
        if self.priority_levels and not 1 <= self.default_priority_level <= self.priority_levels:
            raise ValueError(
                f"default_priority_level is {self.default_priority_level}, expected 1 to {self.priority_levels}"
            )
        outside = [level for level in self.priority_queue_policy if not 1 <= level <= self.priority_levels]
        if outside:
            raise ValueError(f"priority_queue_policy names level {outside[0]}, expected 1 to {self.priority_levels}")
        return self


class InstanceGroup(_Part):
    """`count` execution instances on one kind of device."""

    name: str = ""
    kind: InstanceKind = InstanceKind.AUTO
    count: Annotated[int, Field(ge=0, le=64)] = 0  # 0: the backend's default
    gpus: tuple[NonNegativeInt, ...] = ()

    @field_validator("kind", mode="before")
    @classmethod
    def _refuse_kind_model(cls, value: object) -> object:
        if value == "KIND_MODEL":
            raise ValueError("KIND_MODEL is not supported, use KIND_CPU or KIND_GPU")
        return value


class Graph(_Part):
    """Level of graph optimisation: -1 basic, 1 or more extended; 0 all (ONNX Runtime's default)."""

    level: int = 0


class PinnedMemory(_Part):
    """Whether staging buffers are page-locked (matters on GPUs only)."""

    enable: bool = True


class Optimization(_Part):
    """Hints to the backend."""

    graph: Graph = Graph()
    priority: Literal["PRIORITY_DEFAULT"] = "PRIORITY_DEFAULT"
    input_pinned_memory: PinnedMemory = PinnedMemory()
    output_pinned_memory: PinnedMemory = PinnedMemory()
    eager_batching: bool = False


class Parameter(_Part):
    """A free-form value for the backend."""

    string_value: str = ""

    @model_validator(mode="before")
    @classmethod
    def _accept_plain_value(cls, value: object) -> object:
        # In TOML `intra_op_thread_count = 2` is what people write; Triton's form is a message with string_value.
        return value if isinstance(value, (dict, Parameter)) else {"string_value": str(value)}


class LatestVersions(_Part):
    """Serve the newest `num_versions`."""

    num_versions: PositiveInt = 1


class AllVersions(_Part):
    """Serve every version."""


class SpecificVersions(_Part):
    """Serve these versions."""

    versions: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class VersionPolicy(_Part):
    """Which of the versions that are there shall be served. At most one of the three; none means the newest."""

    latest: LatestVersions | None = None
    all: AllVersions | None = None
    specific: SpecificVersions | None = None

    @model_validator(mode="after")
    def _check_one_choice(self) -> Self:
        chosen = [name for name in ("latest", "all", "specific") if getattr(self, name) is not None]
        if len(chosen) > 1:
            raise ValueError(f"version_policy has {' and '.join(chosen)}, expected one of latest, all, specific")
        return self


class WarmupInput(_Part):
    """Data of one warm-up input: zeros, random numbers, or a raw file of the package."""

    data_type: DatatypeField
    dims: tuple[NonNegativeInt, ...] = ()
    zero_data: bool | None = None
    random_data: bool | None = None
    input_data_file: PackagePath | None = None


class Warmup(_Part):
    """One request that an instance answers before it is READY. `batch_size` 0 or 1: one row."""

    name: str = "warmup"
    batch_size: NonNegativeInt = 0
    inputs: dict[str, WarmupInput] = {}
    count: Annotated[int, Field(ge=0, le=10_000)] = 0


class Switch(_Part):
    """A feature that is on or off."""

    enable: bool = False


class TransactionPolicy(_Part):
    """`decoupled`: one request may have any number of responses."""

    decoupled: bool = False


class ModelConfig(_Part):
    """Configuration of one model; inputs and outputs may be empty until completed from the model file."""

    name: str = ""
    platform: str = ""
    backend: str = ""
    version_policy: VersionPolicy = VersionPolicy()
    max_batch_size: Annotated[int, Field(ge=0, le=65536)] | None = None  # None: decide from the model file
    input: tuple[ModelInput, ...] = ()
    output: tuple[ModelOutput, ...] = ()
    optimization: Optimization = Optimization()
    dynamic_batching: DynamicBatching | None = None
    instance_group: Annotated[tuple[InstanceGroup, ...], Field(max_length=16)] = ()
    default_model_filename: str = ""
    metric_tags: dict[str, str] = {}
    parameters: dict[str, Parameter] = {}
    model_warmup: Annotated[tuple[Warmup, ...], Field(max_length=64)] = ()
    model_transaction_policy: TransactionPolicy = TransactionPolicy()
    response_cache: Switch = Switch()
    description: str = ""
    licence: str = ""
    execution: Execution = Execution()

    @model_validator(mode="before")
    @classmethod
    def _refuse_what_is_not_built(cls, value: Any) -> Any:
        for field in ("sequence_batching", "ensemble_scheduling"):
            if isinstance(value, dict) and field in value:
                raise ValueError(f"{field} is not supported by this version")
        return value

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if self.response_cache.enable:
            raise ValueError("response_cache is not supported by this version, remove it")
        if self.model_transaction_policy.decoupled:
            raise ValueError("decoupled models are not supported by the backends of this version")
        if self.dynamic_batching and self.max_batch_size == 0:
            raise ValueError("dynamic_batching needs max_batch_size of 1 or more, found 0")
        too_large = [
            size
            for size in (self.dynamic_batching.preferred_batch_size if self.dynamic_batching else ())
            if self.max_batch_size is not None and size > self.max_batch_size
        ]
        if too_large:
            raise ValueError(
                f"preferred_batch_size {too_large[0]} is larger than max_batch_size {self.max_batch_size}"
            )
        on_cpu = [group for group in self.instance_group if group.kind is InstanceKind.CPU]
        gpu_paths = [path.value for path in self.execution.paths if path is not ExecutionPath.CPU]
        if on_cpu and gpu_paths:
            raise ValueError(
                f"instance_group says KIND_CPU, but execution names {gpu_paths[0]}: leave one of them out"
            )
        for kind, tensors in (("input", self.input), ("output", self.output)):
            names = [tensor.name for tensor in tensors]
            if len(set(names)) != len(names):
                raise ValueError(f"an {kind} name appears twice in {names}")
        return self

    def parameter(self, key: str, default: str = "") -> str:
        """Return the text of a backend parameter."""
        found = self.parameters.get(key)
        return found.string_value if found else default
