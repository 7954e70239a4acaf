"""What a person asks of one source file, for tests that export it without the rest of a conversion."""

from pathlib import Path

from appliance.convert.request import ConversionRequest
from appliance.convert.task import Task
from appliance.model.identity import parse_model_name, parse_model_version


def request_for(
    path: Path,
    *,
    samples: Path | None = None,
    max_batch_size: int = 8,
    task: Task | None = None,
    allow_pickle: bool = False,
) -> ConversionRequest:
    return ConversionRequest(
        source=str(path),
        out=path.parent / "package",
        name=parse_model_name("model"),
        version=parse_model_version("1"),
        licence="MIT",
        task=task,
        samples=samples,
        max_batch_size=max_batch_size,
        allow_pickle=allow_pickle,
    )
