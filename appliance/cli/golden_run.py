"""Golden samples against a served model: every outcome, a failure included, is a finding."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from appliance.cli.asking import RankedClass, ServedSignature, ask, ranked_classes, served_signature
from appliance.cli.client import InferenceClient
from appliance.cli.output import say
from appliance.errors import ApplianceError, NotFound
from appliance.model.identity import digest_hex, parse_digest
from appliance.registry.golden import GoldenSample, GoldenSamples, read_golden_samples
from appliance.state_layout import StateLayout

_UNLOADED = "unloaded"  # the reason of a version that was asked to leave


@dataclass(frozen=True, slots=True)
class Finding:
    """How one sample went. `expected` is the right label; `problem` is '' if the answer agrees."""

    model: str
    version: str
    sample: str
    answer: str
    expected: str
    problem: str


@dataclass(frozen=True, slots=True)
class GoldenRun:
    """One pass over the served models. `models`: where packages lie, None for those in the registry."""

    client: InferenceClient
    models: Path | None
    layout: StateLayout
    timeout_s: float
    first_only: bool

    def findings(self) -> Iterator[Finding]:
        """Try every sample of every version that serves; a version that should and does not is a finding too."""
        for entry in self.client.index().models:
            if self.models is not None and not (self.models / entry.name).is_dir():
                continue
            if entry.state == "READY":
                yield from self._of_version(entry.name, entry.version)
            elif entry.reason and entry.reason != _UNLOADED:
                problem = f"{entry.state or 'UNAVAILABLE'}: {entry.reason}"
                yield Finding(entry.name, entry.version, "", "", "", problem)

    def _of_version(self, name: str, version: str) -> Iterator[Finding]:
        try:
            model = served_signature(self.client, name, version)
            golden = read_golden_samples(self._package(model))
        except ApplianceError as error:
            yield Finding(name, version, "", "", "", str(error))
            return
        if golden is None:
            say(f"{name} version {version} has no golden samples")
            return
        for sample in golden.samples[:1] if self.first_only else golden.samples:
            yield self._of_sample(model, golden, sample)

    def _package(self, model: ServedSignature) -> Path:
        if self.models is not None:
            return self.models / model.name
        if not model.digest:
            raise NotFound("it is not served from the registry", hint="name where its package is: --models DIR")
        return self.layout.views / digest_hex(parse_digest(model.digest))

    def _of_sample(self, model: ServedSignature, golden: GoldenSamples, sample: GoldenSample) -> Finding:
        answer, problem = "", ""
        try:
            inputs = golden.arrays(sample.inputs)
            expected = golden.arrays(sample.outputs)
            found = ask(self.client, model, inputs, outputs=list(expected), timeout_s=self.timeout_s).arrays
            wrong = [name for name, array in expected.items() if not golden.agrees(found[name], array)]
            problem = f"{', '.join(wrong)}: not within the tolerance" if wrong else ""
            for output in [name for name in model.labelled if name in expected][:1]:
                top = {output: 1}
                classes = ask(self.client, model, inputs, outputs=[output], top=top, timeout_s=self.timeout_s).arrays[
                    output
                ]
                best = ranked_classes(classes)[0][0]
                answer = f"{_label(best)} ({best.value:.4f})"
                if sample.answer and _label(best) != sample.answer:
                    problem = problem or f"expected {sample.answer}"
        except ApplianceError as error:
            problem = str(error)
        return Finding(model.name, model.version, sample.name, answer, sample.answer, problem)


def _label(best: RankedClass) -> str:
    return best.label or str(best.index)
