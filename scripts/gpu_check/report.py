"""gpu-check.json for programs, and the same as a table for people."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpu_check.finding import Finding, Result


def write_json(file: Path, facts: Mapping[str, Any], findings: Sequence[Finding], exit_status: int) -> None:
    """Write the report whole or not at all."""
    document = {
        **facts,
        "exit_status": exit_status,
        "counts": {result.value: sum(finding.result is result for finding in findings) for result in Result},
        "not_run": [
            f"{finding.check}: {finding.subject}" for finding in findings if finding.result is Result.NOT_RUN
        ],
        "findings": [asdict(finding) | {"result": finding.result.value} for finding in findings],
    }
    unfinished = file.with_name(f"{file.name}.unfinished")
    with unfinished.open("w") as stream:
        stream.write(json.dumps(document, indent=2) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.rename(file)


def markdown(title: str, findings: Sequence[Finding]) -> str:
    """Render what was checked as one table, and by name what was not."""
    rows = [_row(finding) for finding in findings if finding.result is not Result.NOT_RUN]
    parts = [f"## {title}", "\n".join(["| check | on | found | goal | |", "| --- | --- | --- | --- | --- |", *rows])]
    reasons: dict[str, list[str]] = {}
    for finding in findings:
        if finding.result is Result.NOT_RUN:
            reasons.setdefault(finding.detail, []).append(f"{finding.check} ({finding.subject})")
    parts += [f"{why}: not run: {', '.join(names)}." for why, names in reasons.items()]
    return "\n\n".join(parts)


def benchmark_section(findings: Sequence[Finding], facts: Mapping[str, Any]) -> str:
    """Render the section of BENCHMARKS.md: what was measured, on what, and what has not run yet."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    intro = (
        "`scripts/gpu-check --document BENCHMARKS.md` wrote this section. What it lists as not run has never run on "
        "a GPU."
    )
    title = f"Engines and GPUs, measured on {facts['started'][:10]}"
    return "\n\n".join([markdown(title, findings), intro, f"On: {versions}."])


def _row(finding: Finding) -> str:
    verdict = f"**FAILED**: {finding.detail}" if finding.result is Result.FAILED else finding.result.value
    cells = (finding.check, finding.subject, finding.found, finding.goal, verdict)
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
