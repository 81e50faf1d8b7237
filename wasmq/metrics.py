"""What Prometheus sees: counters and histograms of plain integers, turned into metric families only when scraped.

A finished job touches a dozen numbers, so nothing is looked up by label and no object is made on that way; the
client library, which is slower and takes a tenth of a second to import, comes in with the first scrape.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeVar, get_args

from wasmq.job import Status
from wasmq_worker.protocol import QUANTUM_BUCKETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
    from prometheus_client.registry import Collector

    from wasmq.job import Outcome
else:
    Collector = object  # a registry takes anything that has collect()

__all__ = ["METRIC_NAMES", "QUANTUM_BUCKETS", "Gauges", "Metrics"]

_T = TypeVar("_T")

OTHER: Final = "other"
"""The label that tenants and reasons share once there are too many of them."""
MAX_REASONS: Final = 50
"""Distinct reasons of refusals or restarts; the program itself knows far fewer, so this only stops a mistake."""

MAX_FUNCTIONS: Final = 200
"""Host functions with a label of their own."""

_HELP: Final = {
    "wasmq_jobs_submitted_total": "Jobs accepted into the queue.",
    "wasmq_jobs_finished_total": "Jobs finished, by how they ended.",
    "wasmq_jobs": "Jobs that are known now, by state.",
    "wasmq_oldest_ready_job_age_seconds": "How long the oldest job that could run has been waiting; 0 when none is.",
    "wasmq_job_wait_seconds": "Time between a job's submission and its start.",
    "wasmq_job_run_seconds": "Time between a job's start and its end.",
    "wasmq_job_fuel": "Fuel that one job used.",
    "wasmq_fuel_consumed_total": "Fuel used by finished jobs.",
    "wasmq_refuels_total": "Times that a job was given more fuel while it ran.",
    "wasmq_fuel_budget_remaining": "Free fuel in tenants' accounts.",
    "wasmq_job_memory_peak_bytes": "Most linear memory that one job had.",
    "wasmq_output_truncated_total": "Jobs that wrote more output than was kept.",
    "wasmq_instances": "Instances in the workers now, by state.",
    "wasmq_memory_bytes": "Memory for jobs: booked by those that were admitted, and free.",
    "wasmq_quantum_seconds": "Length of one turn of an instance.",
    "wasmq_worker_restarts_total": "Worker processes replaced, by reason.",
    "wasmq_workers": "Worker processes that are up now.",
    "wasmq_module_cache_total": "Modules that were found compiled (hit) or had to be compiled (miss).",
    "wasmq_module_compile_seconds": "Time to compile one module.",
    "wasmq_result_reuse_total": "Jobs that another's run may answer: one that had ended did (hit), one under "
    "way does (joined), or they were run (run).",
    "wasmq_store_commit_seconds": "Time to commit one batch of changes to the store.",
    "wasmq_store_batch_size": "Changes committed to the store at once.",
    "wasmq_rejected_total": "Submissions refused, by reason.",
    "wasmq_host_calls_total": "Calls that guests made of host functions.",
    "wasmq_host_call_seconds": "Time from a guest's call of a host function until its answer was sent.",
    "wasmq_loop_lag_seconds": "How late the event loop answered.",
    "wasmq_sandbox_wall": "Whether a wall stands around the workers, by its name.",
    "wasmq_build_info": "What is running here; always 1.",
}
METRIC_NAMES: Final = frozenset(_HELP)
"""The families as scraped: counters with their `_total`, histograms without `_bucket`, `_sum` and `_count`."""

# Upper bounds. Seconds reach from an idle scheduler's answer (tens of microseconds) to the longest timeout.
_JOB_SECONDS: Final = (
    *(1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0),
)
_JOB_FUEL: Final = tuple(float(10**exponent) for exponent in range(1, 13))
_JOB_MEMORY: Final = tuple(float(2**exponent) for exponent in range(16, 33, 2))  # one page to 4 GiB
_HOST_SECONDS: Final = (1e-5, 2.5e-5, 5e-5, *_JOB_SECONDS)
_COMPILE_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_COMMIT_SECONDS: Final = (1e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_BATCH: Final = tuple(float(2**exponent) for exponent in range(13))
_LAG_SECONDS: Final = (1e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_INFINITY: Final = float("inf")


class Gauges(Protocol):
    """What is read at the moment of a scrape, possibly from another thread than the event loop's."""

    def jobs(self) -> Mapping[str, int]:
        """Return the number of jobs in each state."""
        ...

    def oldest_ready_age(self) -> float:
        """Return how long the oldest job that could run has been waiting, in seconds; 0 when none is."""
        ...

    def budgets(self) -> Mapping[str, int]:
        """Return the free fuel of each tenant that has a budget."""
        ...

    def instances(self) -> Mapping[str, int]:
        """Return the number of instances in each state."""
        ...

    def memory(self) -> Mapping[str, int]:
        """Return the bytes of memory for jobs, by whether they are admitted or free."""
        ...

    def workers(self) -> int:
        """Return the number of worker processes that are up."""
        ...


class _Nothing:
    """The gauges of a scheduler that nobody watches yet."""

    def jobs(self) -> Mapping[str, int]:
        return {}

    def oldest_ready_age(self) -> float:
        return 0.0

    def budgets(self) -> Mapping[str, int]:
        return {}

    def instances(self) -> Mapping[str, int]:
        return {}

    def memory(self) -> Mapping[str, int]:
        return {}

    def workers(self) -> int:
        return 0


class _Histogram:
    """Observations counted between bounds; each bucket holds its own, they are summed up when scraped."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total: float = 0

    def observe(self, value: float) -> None:
        # A worker measures some of these, and it may be in a guest's hands: one NaN would stay in the sum for ever.
        if 0 <= value < _INFINITY:
            self.counts[bisect_left(self.bounds, value)] += 1
            self.total += value


class _Account:
    """What one tenant, or all that share the label "other", has had."""

    __slots__ = ("finished", "fuel", "refuels", "submitted")

    def __init__(self) -> None:
        self.submitted = 0
        self.finished: dict[str, int] = dict.fromkeys(get_args(Status), 0)
        self.fuel = 0
        self.refuels = 0


class Metrics(Collector):
    """Counts what happens to jobs; a collector that can be registered with `prometheus_client`.

    Everything but `collect` and `render` belongs to the event loop's thread and costs about a microsecond; those two
    may be called from any thread. `max_tenants` tenants, the first to be seen, have a label of their own, the others
    share `other`. The other arguments are the labels of `wasmq_build_info`.
    """

    def __init__(
        self, *, max_tenants: int = 100, engine: str = "", engine_version: str = "", version: str = ""
    ) -> None:
        self._max_tenants = max_tenants
        self._build = {"version": version, "engine": engine, "engine_version": engine_version}
        self._gauges: Gauges = _Nothing()
        self._walls: dict[str, int] = {}
        self._accounts: dict[str, _Account] = {}
        self._rejected: dict[str, int] = {}
        self._restarts: dict[str, int] = {}
        self._truncated = 0
        self._cache = {"hit": 0, "miss": 0}
        self._reuse = {"hit": 0, "joined": 0, "run": 0}
        self._wait = _Histogram(_JOB_SECONDS)
        self._run = _Histogram(_JOB_SECONDS)
        self._fuel = _Histogram(_JOB_FUEL)
        self._memory = _Histogram(_JOB_MEMORY)
        self._quantum = _Histogram(QUANTUM_BUCKETS)
        self._compile = _Histogram(_COMPILE_SECONDS)
        self._commit = _Histogram(_COMMIT_SECONDS)
        self._batch = _Histogram(_BATCH)
        self._lag = _Histogram(_LAG_SECONDS)
        self._host: dict[str, int] = {}
        self._host_seconds = _Histogram(_HOST_SECONDS)

    def watch(self, gauges: Gauges) -> None:
        """Read the present from `gauges` at each scrape from now on; without any, every gauge is empty or 0."""
        self._gauges = gauges

    def sandboxed(self, walls: Mapping[str, bool]) -> None:
        """Note which walls stand around the workers, and which should and do not."""
        self._walls = {name: int(stands) for name, stands in walls.items()}

    def submitted(self, tenant: str, count: int = 1) -> None:
        """Count jobs that were accepted."""
        account = self._accounts.get(tenant) or self._account(tenant)
        account.submitted += count

    def finished(self, tenant: str, outcome: Outcome) -> None:
        """Count a job's end, and what it waited, ran and used."""
        account = self._accounts.get(tenant) or self._account(tenant)
        account.finished[outcome.status] += 1
        fuel = outcome.fuel_used
        account.fuel += fuel
        self._wait.observe(outcome.queued)
        if outcome.reused is None:
            self._fuel.observe(fuel)
            self._run.observe(outcome.ran)
            self._memory.observe(outcome.memory_peak)
        if outcome.stdout_truncated or outcome.stderr_truncated:
            self._truncated += 1

    def refuelled(self, tenant: str) -> None:
        """Count a job that was given more fuel while it ran."""
        (self._accounts.get(tenant) or self._account(tenant)).refuels += 1

    def rejected(self, reason: str) -> None:
        """Count a refused submission."""
        _count(self._rejected, reason)

    def worker_restarted(self, reason: str) -> None:
        """Count a worker that was replaced."""
        _count(self._restarts, reason)

    def module_cached(self, result: Literal["hit", "miss"]) -> None:
        """Count a module that was loaded: found compiled, or not."""
        self._cache[result] += 1

    def reused(self, result: Literal["hit", "joined", "run"]) -> None:
        """Count a job that another's run might answer: a kept answer did, it waits for one, or it is run itself."""
        self._reuse[result] += 1

    def module_compiled(self, seconds: float) -> None:
        """Count a compilation that took so long."""
        self._compile.observe(seconds)

    def committed(self, seconds: float, batch: int) -> None:
        """Count a commit to the store: how long it took, and how many changes it carried."""
        self._commit.observe(seconds)
        self._batch.observe(batch)

    def quanta(self, counts: Sequence[int], total: float) -> None:
        """Add turns that a worker measured: their number in each bucket of `QUANTUM_BUCKETS`, and their sum in seconds.

        `counts` is not cumulative and has one more entry than there are bounds, for the turns above the last. A report
        that no honest worker can send (another length, a negative number, a sum that is not finite) is ignored.
        """
        mine = self._quantum
        if len(counts) != len(mine.counts) or min(counts) < 0 or not 0 <= total < _INFINITY:
            return
        for position, count in enumerate(counts):
            mine.counts[position] += count
        mine.total += total

    def host_called(self, function: str) -> None:
        """Count a call of a host function; the first of them to be called have a label of their own."""
        _count(self._host, function, MAX_FUNCTIONS)

    def host_answered(self, seconds: float) -> None:
        """Count an answer to a host call, which took so long."""
        self._host_seconds.observe(seconds)

    def lagged(self, seconds: float) -> None:
        """Count one probe of the event loop, which answered so late."""
        self._lag.observe(seconds)

    def collect(self) -> Iterator[Metric]:
        """Yield every family of `METRIC_NAMES`, with no samples where nothing has been counted under any label."""
        from prometheus_client.metrics_core import InfoMetricFamily

        accounts = self._accounts.copy()
        now = self._gauges
        yield _counter("wasmq_jobs_submitted_total", "tenant", {name: a.submitted for name, a in accounts.items()})
        finished = _counter("wasmq_jobs_finished_total", "tenant,status", {})
        for name, account in accounts.items():
            for status, count in account.finished.copy().items():
                finished.add_metric([name, status], count)
        yield finished
        yield _gauge("wasmq_jobs", "state", _read(lambda: dict(now.jobs())))
        yield _gauge("wasmq_oldest_ready_job_age_seconds", "", _read(now.oldest_ready_age))
        yield _histogram("wasmq_job_wait_seconds", self._wait)
        yield _histogram("wasmq_job_run_seconds", self._run)
        yield _histogram("wasmq_job_fuel", self._fuel)
        yield _counter("wasmq_fuel_consumed_total", "tenant", {name: a.fuel for name, a in accounts.items()})
        yield _counter("wasmq_refuels_total", "tenant", {name: a.refuels for name, a in accounts.items()})
        yield _gauge("wasmq_fuel_budget_remaining", "tenant", _read(lambda: self._budgets(now)))
        yield _histogram("wasmq_job_memory_peak_bytes", self._memory)
        yield _gauge("wasmq_instances", "state", _read(lambda: dict(now.instances())))
        yield _gauge("wasmq_memory_bytes", "state", _read(lambda: dict(now.memory())))
        yield _histogram("wasmq_quantum_seconds", self._quantum)
        truncated = _counter("wasmq_output_truncated_total", "", {})
        truncated.add_metric([], self._truncated)
        yield truncated
        yield _counter("wasmq_worker_restarts_total", "reason", self._restarts.copy())
        yield _gauge("wasmq_workers", "", _read(now.workers))
        yield _counter("wasmq_module_cache_total", "result", self._cache.copy())
        yield _histogram("wasmq_module_compile_seconds", self._compile)
        yield _counter("wasmq_result_reuse_total", "result", self._reuse.copy())
        yield _histogram("wasmq_store_commit_seconds", self._commit)
        yield _histogram("wasmq_store_batch_size", self._batch)
        yield _counter("wasmq_rejected_total", "reason", self._rejected.copy())
        yield _counter("wasmq_host_calls_total", "function", self._host.copy())
        yield _histogram("wasmq_host_call_seconds", self._host_seconds)
        yield _histogram("wasmq_loop_lag_seconds", self._lag)
        yield _gauge("wasmq_sandbox_wall", "wall", self._walls)
        yield InfoMetricFamily("wasmq_build", _HELP["wasmq_build_info"], self._build)

    def _budgets(self, gauges: Gauges) -> dict[str, int]:
        """Return the free fuel by label; tenants without a label of their own are added up."""
        budgets: dict[str, int] = {}
        own = self._max_tenants
        for tenant, free in gauges.budgets().items():
            label = _label(tenant)
            if label not in self._accounts and len(budgets) >= own:
                label = OTHER
            budgets[label] = budgets.get(label, 0) + free
        return budgets

    def render(self) -> bytes:
        """Return this collector alone in Prometheus's text format."""
        from prometheus_client.exposition import generate_latest

        return generate_latest(self)

    def _account(self, tenant: str) -> _Account:
        """Return the account of a tenant that has none under its name: a new one, or the shared one."""
        label = _label(tenant)
        if label not in self._accounts and len(self._accounts) - (OTHER in self._accounts) >= self._max_tenants:
            label = OTHER
        account = self._accounts.get(label)
        if account is None:
            account = self._accounts[label] = _Account()
        return account


def _label(text: str) -> str:
    """Return text that can be sent as UTF-8: half a surrogate pair in one label would break every scrape."""
    return text.encode("utf-8", "backslashreplace").decode()


def _count(counts: dict[str, int], name: str, most: int = MAX_REASONS) -> None:
    label = _label(name)
    if label not in counts and len(counts) >= most:
        label = OTHER
    counts[label] = counts.get(label, 0) + 1


def _read(gauge: Callable[[], _T]) -> _T | None:
    """Return what a gauge says, or None when what it reads keeps changing under another thread's hands."""
    for _ in range(10):
        try:
            return gauge()
        except RuntimeError:  # "dictionary changed size during iteration"
            continue
    return None


def _counter(name: str, labels: str, values: Mapping[str, int]) -> CounterMetricFamily:
    from prometheus_client.metrics_core import CounterMetricFamily

    family = CounterMetricFamily(name, _HELP[name], labels=labels.split(",") if labels else ())
    for value, count in values.items():
        family.add_metric([value], count)
    return family


def _gauge(name: str, label: str, value: float | Mapping[str, int] | None) -> GaugeMetricFamily:
    from prometheus_client.metrics_core import GaugeMetricFamily

    family = GaugeMetricFamily(name, _HELP[name], labels=[label] if label else [])
    if isinstance(value, (int, float)):
        family.add_metric([], value)
    elif value is not None:
        for text, number in value.items():
            family.add_metric([text], number)
    return family


def _histogram(name: str, histogram: _Histogram) -> HistogramMetricFamily:
    from prometheus_client.metrics_core import HistogramMetricFamily
    from prometheus_client.utils import floatToGoString

    total, counts = histogram.total, histogram.counts.copy()
    bounds = map(floatToGoString, (*histogram.bounds, _INFINITY))
    return HistogramMetricFamily(name, _HELP[name], list(zip(bounds, accumulate(counts), strict=True)), total)
