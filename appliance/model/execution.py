"""On what a model may run: execution paths in order of preference, and what happens if none of them can be had.

Written in `model.toml` in one of these forms:

    execution = "require"                       what `instance_group` asks for, or the model does not load
    execution = "prefer"                        ... or the CPU
    execution = ["tensorrt", "cuda", "cpu"]     the first of these that can be had, and nothing else
    execution = { require = ["tensorrt"] }      the same, said at length
    execution = { prefer = ["tensorrt"] }       the first that can be had, or else the CPU

In Triton's `config.pbtxt` and on the wire it is the parameter `execution`, as text: "require tensorrt, cuda".
"""

from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_FORMS = "'require' or 'prefer', a list of paths, or { require = [...] }"


class ExecutionPath(Enum):
    """What computes."""

    TENSORRT = "tensorrt"
    CUDA = "cuda"  # ONNX Runtime's
    CPU = "cpu"  # ONNX Runtime's


class ExecutionPolicy(Enum):
    """What happens when nothing of what was asked for can be had."""

    REQUIRE = "require"  # the model does not load
    PREFER = "prefer"  # it loads on the CPU, and metadata, status and journal say so


class Execution(BaseModel):
    """The policy and the paths; no path means what the instance groups say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy: ExecutionPolicy = ExecutionPolicy.REQUIRE
    paths: Annotated[tuple[ExecutionPath, ...], Field(max_length=len(ExecutionPath))] = ()

    @model_validator(mode="before")
    @classmethod
    def _read_any_form(cls, value: Any) -> Any:
        if isinstance(value, str):
            return _from_text(value)
        if isinstance(value, (list, tuple)):
            return {"paths": value}
        if isinstance(value, Mapping) and value and not value.keys() <= {"policy", "paths"}:
            policies = [policy.value for policy in ExecutionPolicy if policy.value in value]
            if len(policies) != 1 or len(value) != 1:
                raise ValueError(f"found {', '.join(map(str, value)) or 'nothing'}, expected {_FORMS}")
            paths = value[policies[0]]
            return {"policy": policies[0], "paths": [paths] if isinstance(paths, str) else paths}
        return value

    @model_validator(mode="after")
    def _check_paths(self) -> Self:
        if len(set(self.paths)) != len(self.paths):
            raise ValueError(f"a path appears twice in {[path.value for path in self.paths]}")
        return self

    @property
    def permitted(self) -> tuple[ExecutionPath, ...]:
        """Paths to try, in this order; empty if the instance groups decide."""
        if not self.paths or self.policy is ExecutionPolicy.REQUIRE or ExecutionPath.CPU in self.paths:
            return self.paths
        return (*self.paths, ExecutionPath.CPU)

    @property
    def text(self) -> str:
        """One line: "require", "prefer tensorrt, cuda"."""
        return f"{self.policy.value} {', '.join(path.value for path in self.paths)}".strip()


def _from_text(text: str) -> dict[str, Any]:
    policy, _, paths = text.strip().partition(" ")
    if policy not in {each.value for each in ExecutionPolicy}:
        raise ValueError(f"found '{text}', expected {_FORMS}")
    return {"policy": policy, "paths": [path.strip() for path in paths.split(",") if path.strip()]}
