"""What this box can really run, found by trying: TensorRT, ONNX Runtime through CUDA, ONNX Runtime on the CPU.

Everything is tried in processes of its own, because a broken driver can crash an import and TensorRT's libraries
crash at exit where there is no driver: what breaks there is a sentence in the report, never an exception.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from appliance.backends.cuda.gpu import Gpu
from appliance.backends.cuda.platform import driver_version, jetpack_problem, l4t_release
from appliance.backends.probe_judgement import REINSTALL, judge_cpu, judge_cuda, judge_tensorrt
from appliance.backends.probe_process import TrialAnswer, try_in_process
from appliance.backends.probe_report import (
    FlavourReport,
    MachineReport,
    OnnxRuntimeReport,
    Outcome,
    PathReport,
    ProbeReport,
    Trial,
)

__all__ = [
    "FlavourReport",
    "MachineReport",
    "OnnxRuntimeReport",
    "Outcome",
    "PathReport",
    "ProbeReport",
    "Trial",
    "probe",
    "probe_until",
]

TIMEOUT_S = 120.0  # a first start of CUDA may compile kernels for minutes on a slow box
COMPUTE_CAPABILITY = "8.9"  # built for where there is no GPU
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_UNTRIED = Trial(Outcome.UNTRIED, "")


def probe(
    timeout_s: float = TIMEOUT_S,
    *,
    compute_capability: str = COMPUTE_CAPABILITY,
    packages: Sequence[Path] | None = None,
    cancelled: threading.Event | None = None,
) -> ProbeReport:
    """Try everything; at most `timeout_s` for each of two rounds.

    packages: directories in which Python packages are looked for, default: where this process finds them.
    Raises Cancelled when the event is set meanwhile, Failed only if no process can be started.
    """
    cancelled = cancelled or threading.Event()
    trials = _Trials(timeout_s, compute_capability, packages, cancelled)
    with ThreadPoolExecutor(thread_name_prefix="probe") as pool:
        try:
            machine, flavours, runtime, cuda, cpu = _tried(trials, pool)
        except BaseException:  # Ctrl-C too: nobody waits for what hangs
            cancelled.set()
            raise
    paths = (judge_tensorrt(machine, flavours), judge_cuda(machine, runtime, cuda), judge_cpu(runtime, cpu))
    return ProbeReport(paths, machine, flavours, runtime)


def _tried(
    trials: "_Trials", pool: ThreadPoolExecutor
) -> tuple[MachineReport, tuple[FlavourReport, ...], OnnxRuntimeReport | None, Trial, Trial]:
    """First what there is, then whether it works, as much as possible at the same time."""
    asked_machine = pool.submit(trials.machine)
    asked_cpu = pool.submit(trials.onnxruntime, _CPU)
    machine, installed = asked_machine.result()
    asked_flavours = [pool.submit(trials.flavour, *flavour) for flavour in installed]
    runtime, cpu = asked_cpu.result()
    cuda = cpu if runtime is None else _UNTRIED
    if runtime is not None and _CUDA in runtime.providers:
        cuda = pool.submit(trials.onnxruntime, _CUDA).result()[1]
    return machine, tuple(asked.result() for asked in asked_flavours), runtime, cuda, cpu


def probe_until(cancelled: threading.Event) -> ProbeReport:
    """Try everything, unless nobody wants to know any more. Raises Cancelled then, Failed as `probe`."""
    return probe(cancelled=cancelled)


class _Trials:
    """The trials, and how they are asked for; each runs in its own process."""

    def __init__(
        self,
        timeout_s: float,
        compute_capability: str,
        packages: Sequence[Path] | None,
        cancelled: threading.Event,
    ) -> None:
        self._timeout_s = timeout_s
        self._compute_capability = compute_capability
        self._packages = packages
        self._cancelled = cancelled

    def machine(self) -> tuple[MachineReport, list[tuple[str, str]]]:
        """Find GPUs, and which TensorRTs are installed: (name, version)."""
        answer = self._ask(["machine"], "the NVIDIA driver")
        facts = answer.facts
        report = MachineReport(
            gpus=tuple(_gpu(gpu) for gpu in facts.get("gpus", [])),
            driver=driver_version(),
            cuda=facts.get("cuda", ""),
            l4t=l4t_release(),
            jetpack_problem=jetpack_problem(),
            problem=answer.problem or facts.get("driver_problem", ""),
            remedy=answer.remedy or facts.get("driver_remedy", ""),
        )
        if not report.gpus and not report.problem:
            report = replace(
                report, problem="the NVIDIA driver shows no GPU", remedy="look at the driver: nvidia-smi"
            )
        return report, [(name, version) for name, version in facts.get("flavours", [])]

    def onnxruntime(self, provider: str) -> tuple[OnnxRuntimeReport | None, Trial]:
        """Import ONNX Runtime and compute with one of its providers."""
        answer = self._ask(["onnxruntime", provider], "ONNX Runtime")
        facts = answer.facts
        problem = facts.get("import_problem") or answer.problem or facts.get("computes", "")
        remedy = facts.get("remedy") or answer.remedy or REINSTALL
        trial = Trial(Outcome.NO, problem, remedy) if problem else Trial(Outcome.YES, f"{provider} computes")
        if "version" not in facts:
            return None, trial
        return OnnxRuntimeReport(facts["version"], tuple(facts["providers"]), facts["telemetry_off"]), trial

    def flavour(self, name: str, version: str) -> FlavourReport:
        """Load one TensorRT, build an engine with it and run that."""
        answer = self._ask(["tensorrt", name, self._compute_capability], f"{name} {version}")
        loads, builds, runs = _steps(answer)
        return FlavourReport(name, version, loads, builds, runs, tuple(answer.facts.get("targets", [])))

    def _ask(self, subject: Sequence[str], title: str) -> TrialAnswer:
        return try_in_process(subject, title, self._timeout_s, packages=self._packages, cancelled=self._cancelled)


def _steps(answer: TrialAnswer) -> list[Trial]:
    """Read the steps `loads`, `builds` and `runs`; the process's own end belongs to the step that it was in."""
    trials: list[Trial] = []
    for step in ("loads", "builds", "runs"):
        failed_before = any(not trial.passed for trial in trials)
        if step in answer.facts:
            trials.append(_trial(answer.facts[step]))
        elif answer.problem and not failed_before:
            trials.append(Trial(Outcome.NO, answer.problem, answer.remedy))
        else:
            trials.append(_UNTRIED)
    return trials


def _trial(fact: dict[str, str]) -> Trial:
    return Trial(Outcome(fact["outcome"]), fact["detail"], fact["remedy"])


def _gpu(facts: dict[str, Any]) -> Gpu:
    known = {each.name for each in fields(Gpu)}
    return Gpu(**{name: value for name, value in facts.items() if name in known})
