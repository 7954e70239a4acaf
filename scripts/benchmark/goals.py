"""The goals, and whether a result meets them. Pure.

A ratio is formed within each round, where daemon and peer ran one after the other, and the median over the rounds
is what counts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmark.measure import CaseResult, Run
from benchmark.peers import DAEMON, ECHO, NATIVE, OBJECTS_ECHO
from benchmark.triton import TRITON

ECHO_FACTOR = 1.35


@dataclass(frozen=True, slots=True)
class Goal:
    """One sentence that a result makes true or false."""

    subject: str  # what it is about: a case
    text: str
    target: str
    found: str
    met: bool
    by_round: tuple[float, ...] = ()  # what `found` is the median of


@dataclass(frozen=True, slots=True)
class Rule:
    """How one goal is judged: a value per round, and a bound for their median."""

    cases: tuple[str, ...]
    text: str
    target: str
    holds: Callable[[float], bool]
    values: Callable[[CaseResult], list[float]]

    def judge(self, result: CaseResult) -> Goal:
        values = self.values(result)
        middle = median(values)
        found, met = f"{middle:.2f} ({_range(values)})", self.holds(middle)
        return Goal(result.case, self.text, self.target, found, met, tuple(values))


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


def _pairs(result: CaseResult, peer: str) -> list[tuple[Run, Run]]:
    return list(zip(result.servers[DAEMON], result.servers[peer], strict=True))


def _cpu_ratio(peer: str) -> Callable[[CaseResult], list[float]]:
    def values(result: CaseResult) -> list[float]:
        return [own.cpu_us_per_request / other.cpu_us_per_request for own, other in _pairs(result, peer)]

    return values


def _ahead(peer: str) -> Callable[[CaseResult], list[float]]:
    def values(result: CaseResult) -> list[float]:
        pairs = zip(result.servers[NATIVE], result.servers[peer], strict=True)
        return [own.load.requests_per_s / other.load.requests_per_s for own, other in pairs]

    return values


def _added_us(result: CaseResult) -> list[float]:
    """What the daemon costs beyond computing, in microseconds of CPU per request."""
    pairs = zip(result.servers[NATIVE], result.in_process_batch, strict=True)
    return [own.cpu_us_per_request - alone.cpu_us_per_inference for own, alone in pairs]


def _added(cases: tuple[str, ...], most_us: float) -> Rule:
    text = "native: CPU per request - in process alone, us"
    return Rule(cases, text, f"<= {most_us:g}", lambda value: value <= most_us, _added_us)


def _share_of_parts_beside(result: CaseResult) -> list[float]:
    return [
        own.cpu_us_per_request
        / (beside.in_process.cpu_us_per_inference + ECHO_FACTOR * beside.echo.cpu_us_per_request)
        for own, beside in zip(result.servers[DAEMON], result.beside, strict=True)
    ]


def _share_of_parts_alone(result: CaseResult) -> list[float]:
    return [
        own.cpu_us_per_request / (alone.cpu_us_per_inference + ECHO_FACTOR * echo.cpu_us_per_request)
        for (own, echo), alone in zip(_pairs(result, ECHO), result.in_process_batch, strict=True)
    ]


def _mean_batch(result: CaseResult) -> list[float]:
    return [run.mean_batch for run in result.servers[DAEMON]]


def _tail(result: CaseResult) -> list[float]:
    return [run.load.p99_us / run.load.p50_us for run in result.servers[DAEMON]]


COMPUTING = ("cnn-c1", "cnn-c8", "mlp-c1", "mlp-c32")
ALL = ("identity-tiny-c1", "identity-tiny-c16", "identity-large-c4", *COMPUTING)
RULES = (
    Rule(
        ("identity-tiny-c16",),
        "native: requests per second / daemon on grpcio",
        ">= 3",
        lambda value: value >= 3,
        _ahead(DAEMON),
    ),
    Rule(ALL, "native: requests per second / tritonserver", "> 1", lambda value: value > 1, _ahead(TRITON)),
    _added(("identity-tiny-c1", "identity-tiny-c16"), 110),
    _added(COMPUTING, 160),
    _added(("identity-large-c4",), 700),
    Rule(
        ("identity-tiny-c1", "identity-tiny-c16"),
        "grpcio: CPU per request / bare gRPC echo",
        f"<= {ECHO_FACTOR}",
        lambda value: value <= ECHO_FACTOR,
        _cpu_ratio(ECHO),
    ),
    Rule(("identity-tiny-c16",), "grpcio: p99 / p50", "< 4", lambda value: value < 4, _tail),
    Rule(
        ("identity-large-c4",),
        "grpcio: CPU per request / echo through protobuf objects",
        "<= 0.75",
        lambda value: value <= 0.75,
        _cpu_ratio(OBJECTS_ECHO),
    ),
    Rule(
        COMPUTING,
        f"grpcio: CPU per request / (in process + {ECHO_FACTOR} x echo, side by side at the daemon's pace)",
        "<= 1",
        lambda value: value <= 1,
        _share_of_parts_beside,
    ),
    Rule(
        COMPUTING,
        f"grpcio: CPU per request / (in process + {ECHO_FACTOR} x echo, each alone at full speed)",
        "<= 1",
        lambda value: value <= 1,
        _share_of_parts_alone,
    ),
    Rule(("mlp-c32",), "grpcio: mean batch", ">= 12", lambda value: value >= 12, _mean_batch),
)


def judge(results: Sequence[CaseResult]) -> list[Goal]:
    """Judge every goal that the measured cases have."""
    return [rule.judge(result) for result in results for rule in RULES if result.case in rule.cases]
