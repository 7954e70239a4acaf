"""How much of the bare engine's speed is served: at concurrency 1 the latency added, at 32 the share of rows.

The bare engine runs with as many instances as the daemon has, on batches as large as those that formed in it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmark.load_generator import Load, LoadGenerator
from benchmark.server_process import ServerProcess

from appliance.cli.asking import ServedSignature
from appliance.errors import Unsupported
from gpu_check.bare import BareModel, run_bare
from gpu_check.client_load import run_clients
from gpu_check.daemon import DAEMON_ERRORS, signature_of, words_of
from gpu_check.feed import Feed, make_feed
from gpu_check.finding import Finding, failed, judged, measured, not_run
from gpu_check.packages import INSTANCES, RESNET50, Workload

LATENCY, SHARE = "latency added at concurrency 1", "served at concurrency 32, of the bare engine"
OVERLAP = f"{INSTANCES} instances of the bare engine"  # more than 1: copies and computing overlap
CONCURRENCY = 32
LARGEST_ADDED_US = 400.0
SMALLEST_SHARE = 0.95
_WARM_UP_S = 1.0
_WINDOWS = 3  # of perf_analyzer


@dataclass(frozen=True, slots=True)
class Generator:
    """Where load comes from. `perf_analyzer`: None where it cannot be had, then clients of our own."""

    perf_analyzer: LoadGenerator | None
    seconds: float

    @property
    def described(self) -> str:
        """In a sentence."""
        return "perf_analyzer" if self.perf_analyzer else "clients in Python"

    def run(self, address: str, feed: Feed, concurrency: int) -> Load:
        """Load one model for `seconds`, after a warm-up."""
        if self.perf_analyzer is None:
            run_clients(address, feed, concurrency, _WARM_UP_S)
            return run_clients(address, feed, concurrency, self.seconds)
        self.perf_analyzer.run(address, feed.model, concurrency, _WARM_UP_S / _WINDOWS)
        return self.perf_analyzer.run(address, feed.model, concurrency, self.seconds / _WINDOWS)


def check_throughput(
    workload: Workload,
    daemon: ServerProcess,
    generator: Generator,
    bare_model: Callable[[str], BareModel],
    say: Callable[[str], None],
) -> Iterator[Finding]:
    """Measure every model. `bare_model`: from a model's name to what is loaded without a server."""
    for name in workload.names:
        try:
            signature = signature_of(daemon, name)
            feed = make_feed(signature, workload.package(name))
            chosen = generator if _can_be_made_up(signature) else Generator(None, generator.seconds)
            say(f"{name}: measuring with {chosen.described}")
            yield _check_latency(name, daemon, chosen, bare_model(name), feed)
            yield from _check_share(name, daemon, chosen, bare_model(name), feed)
        except Unsupported as error:
            yield not_run(LATENCY, name, error.message)
            yield not_run(SHARE, name, error.message)
            yield not_run(OVERLAP, name, error.message)
        except DAEMON_ERRORS as error:
            yield failed(SHARE, name, words_of(error))


def _check_latency(name: str, daemon: ServerProcess, generator: Generator, model: BareModel, feed: Feed) -> Finding:
    served = generator.run(daemon.address, feed, 1)
    bare = run_bare(model, feed, 1, 1, generator.seconds)
    added_us = served.p50_us - bare.median_us
    found = f"{added_us:.0f} us (served p50 {served.p50_us:.0f} us, bare {bare.median_us:.0f} us)"
    if name != RESNET50 or model.path != "tensorrt":
        return measured(LATENCY, name, found)
    return judged(LATENCY, name, found, f"<= {LARGEST_ADDED_US:.0f} us", met=added_us <= LARGEST_ADDED_US)


def _check_share(
    name: str, daemon: ServerProcess, generator: Generator, model: BareModel, feed: Feed
) -> Iterator[Finding]:
    before = daemon.counts(name)
    served = generator.run(daemon.address, feed, CONCURRENCY)
    after = daemon.counts(name)
    executions = after.executions - before.executions
    batch_size = max(1, round((after.inferences - before.inferences) / executions)) if feed.batched else 1
    one, bare = (run_bare(model, feed, batch_size, count, generator.seconds) for count in (1, INSTANCES))
    share = served.requests_per_s / bare.rows_per_s
    found = (
        f"{share:.3f} ({served.requests_per_s:,.0f} of {bare.rows_per_s:,.0f} rows/s, batches of {batch_size}, "
        f"p99 {served.p99_us / 1000:.1f} ms, {generator.described})"
    )
    if name != RESNET50 or model.path != "tensorrt":
        yield measured(SHARE, name, found)
    else:
        slow = "goal missed" if generator.perf_analyzer else "goal missed, perhaps because clients in Python are slow"
        yield judged(SHARE, name, found, f">= {SMALLEST_SHARE}", met=share >= SMALLEST_SHARE, otherwise=slow)
    gain = bare.rows_per_s / one.rows_per_s
    yield measured(OVERLAP, name, f"{gain:.2f} times the rows of one ({one.rows_per_s:,.0f} rows/s)")


def _can_be_made_up(signature: ServedSignature) -> bool:
    """perf_analyzer makes up its data: any number will do for a float, but not for a word of a vocabulary."""
    return all(
        tensor.datatype.numpy.kind == "f" and min(tensor.shape, default=0) >= 0
        for tensor in signature.inputs.values()
    )
