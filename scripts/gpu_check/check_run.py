"""All checks in their order, and what they found."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from appliance.backends.probe import FlavourReport, Outcome, ProbeReport, Trial
from appliance.backends.probe_judgement import name_limits
from appliance.errors import ApplianceError, Failed
from appliance.state_layout import StateLayout
from gpu_check.bare import BareModel
from gpu_check.builds import BUILD, CACHE, Target, build_facts, check_builds
from gpu_check.daemon import DAEMON_ERRORS, start_daemon, words_of
from gpu_check.finding import Finding, failed, not_run, passed
from gpu_check.golden import GOLDEN, check_golden
from gpu_check.gpu_tests import GPU_TESTS, check_gpu_tests
from gpu_check.memory import GPU_MEMORY, RESIDENT, check_memory
from gpu_check.packages import SHIPPED, Workload, lay_out
from gpu_check.placement import PLACEMENT, check_placement
from gpu_check.throughput import LATENCY, OVERLAP, SHARE, Generator, check_throughput
from gpu_check.warm_start import WARM_START, check_warm_start

_SERVING = (PLACEMENT, GOLDEN, LATENCY, SHARE, OVERLAP, GPU_MEMORY, RESIDENT, WARM_START)


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to do."""

    load_s: float  # of one measurement
    cycles: int  # of loading and unloading
    large: bool  # ResNet-50, too


@dataclass(slots=True)
class CheckRun:
    """One run; the methods are called in the order in which they stand here."""

    report: ProbeReport
    folder: Path  # for everything that is written
    root: Path  # of the source tree
    effort: Effort
    generator: Generator
    say: Callable[[str], None]
    findings: list[Finding] = field(default_factory=list)

    @property
    def no_gpu(self) -> str:
        """Why what needs a GPU is not run; '' if there is one."""
        return "" if self.report.gpus else "no GPU"

    def check_paths(self) -> None:
        """Report what the probe found; on a GPU, one path to it has to be usable."""
        for path in self.report.paths:
            if path.usable:
                self.findings.append(passed("can compute", path.path, path.detail))
            elif path.path == "tensorrt" and not self.no_gpu:
                self.findings.append(failed("can compute", path.path, f"{path.detail}; next: {path.remedy}"))
            elif path.path == "cpu":
                self.findings.append(failed("can compute", path.path, path.detail))
            else:
                why = self.no_gpu or f"{path.detail}; next: {path.remedy}"
                self.findings.append(not_run("can compute", path.path, why))
        for flavour in self.report.flavours:
            steps = {"loads": flavour.loads, "builds": flavour.builds, "runs": flavour.runs}
            self.findings += [self._step(f"TensorRT {verb}", flavour, trial) for verb, trial in steps.items()]

    def check_engines(self, models: Sequence[Path], compute_capability: str) -> None:
        """Build every model's engine: on the GPU, else for a compute capability where TensorRT-RTX is installed."""
        target = Target(self.state, "" if self.report.gpus else compute_capability)
        if target.compute_capability and not any(flavour.targets for flavour in self.report.flavours):
            self._leave_out((BUILD, CACHE), "no GPU, and no TensorRT-RTX that works, which builds without one")
            return
        workload = self._lay_out("engines", models, "")
        if workload is not None:
            self._take(check_builds(workload, target, self.say))

    def check_serving(self, models: Sequence[Path], *, rehearse: bool) -> None:
        """Serve all models and measure; on the CPU if that is to be rehearsed."""
        if self.no_gpu and not rehearse:
            self._leave_out(_SERVING, self.no_gpu)
            return
        path = "cpu" if self.no_gpu else "tensorrt"
        if not self.report.path(path).usable:
            self._leave_out(_SERVING, self.report.path(path).detail)
            return
        workload = self._lay_out("served", models, path)
        if workload is None:
            return
        try:
            self._serve(workload, path)
        except DAEMON_ERRORS as error:
            self.findings.append(failed("daemon", "all models", words_of(error)))
            return
        self.say("starting the daemon once more")
        self._take(check_warm_start(workload, self.state, self._engines))
        if self.no_gpu:
            self._leave_out((GPU_MEMORY,), self.no_gpu)

    def check_tests(self) -> None:
        """Run the tests that need a GPU."""
        if self.no_gpu:
            self.findings.append(not_run(GPU_TESTS, "tests", self.no_gpu))
            return
        self.say("running the tests that need a GPU")
        self._take(check_gpu_tests(self.root))

    @property
    def state(self) -> Path:
        """The state directory of everything that is started."""
        return self.folder / "state"

    @property
    def _engines(self) -> Path:
        return StateLayout(self.state).engines

    def _step(self, check: str, flavour: FlavourReport, trial: Trial) -> Finding:
        """What cannot work without a GPU, or on a GPU that this TensorRT is not made for, is no failure of ours."""
        if trial.passed:
            return passed(check, flavour.title, trial.detail)
        limits = name_limits(flavour, self.report.machine)
        if trial.outcome is Outcome.NO and not limits and (self.report.gpus or check == "TensorRT loads"):
            return failed(check, flavour.title, trial.detail)
        return not_run(check, flavour.title, limits or self.no_gpu or "the step before it failed")

    def _serve(self, workload: Workload, path: str) -> None:
        self.say("starting the daemon")
        gpu = self.report.gpus[0] if self.report.gpus else None
        with start_daemon(workload, self.state) as daemon:
            self._take(check_placement(workload, daemon, path))
            self._take(check_golden(workload, self.state))
            bare = partial(self._bare_model, workload, path)
            self._take(check_throughput(workload, daemon, self.generator, bare, self.say))
            self._take(check_memory(workload, daemon, self.effort.cycles, gpu, self.say))

    def _take(self, findings: Iterable[Finding]) -> None:
        """One by one, so that those before an error stay."""
        for finding in findings:
            self.findings.append(finding)

    def _bare_model(self, workload: Workload, path: str, name: str) -> BareModel:
        package = str(workload.package(name))
        if path != "tensorrt":
            return BareModel(path, package)
        facts = build_facts(workload, Target(self.state), name)
        if not facts["cached"]:
            raise Failed(f"the engine of {name} that is served is not the one that was built before")
        return BareModel(path, package, facts["path"], facts["digest"], facts["components"]["platform"]["flavour"])

    def _lay_out(self, folder: str, models: Sequence[Path], path: str) -> Workload | None:
        try:
            return lay_out(self.folder / folder, self.root / "models", models, path, large=self.effort.large)
        except (ApplianceError, OSError) as error:
            self.findings.append(failed("models", folder, str(error)))
            return None

    def _leave_out(self, checks: Sequence[str], why: str) -> None:
        subjects = ", ".join((*SHIPPED, "cnn", *(("resnet50",) if self.effort.large else ())))
        self.findings += [not_run(check, subjects, why) for check in checks]
