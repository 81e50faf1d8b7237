"""Metrics: what a scrape shows is what happened, in the words of prometheus_client."""

from __future__ import annotations

import subprocess
import sys
import threading

import prometheus_client
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from wasmq import metrics as metrics_module
from wasmq.job import Outcome
from wasmq.metrics import MAX_REASONS, METRIC_NAMES, QUANTUM_BUCKETS, Metrics

seconds = st.floats(0, 1e6, allow_nan=False)


def scrape(metrics):
    """Return the families of a scrape by name, as Prometheus reads them."""
    families = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert name not in families
        families[name] = family
    return families


def samples(family):
    """Return a family's samples as a mapping from (name, sorted labels) to value; each must be there once."""
    found = {}
    for sample in family.samples:
        key = sample.name, tuple(sorted(sample.labels.items()))
        assert key not in found
        found[key] = sample.value
    return found


def by_label(family):
    """Return a family's samples as a mapping from their label values to value."""
    return {tuple(value for _, value in labels): number for (_, labels), number in samples(family).items()}


def theirs(name, bounds, observations):
    """Return the samples that prometheus_client's own histogram shows for the same observations."""
    registry = prometheus_client.CollectorRegistry()
    histogram = prometheus_client.Histogram(name, "help", buckets=bounds, registry=registry)
    for value in observations:
        histogram.observe(value)
    text = prometheus_client.generate_latest(registry).decode()
    (family,) = (family for family in text_string_to_metric_families(text) if family.type == "histogram")
    return samples(family)


def test_every_family_is_there_from_the_start():
    """A scrape before the first job shows each family once, and zero wherever no label is needed."""
    families = scrape(Metrics())
    assert frozenset(families) == METRIC_NAMES
    assert all(family.documentation for family in families.values())
    for name in ("wasmq_workers", "wasmq_oldest_ready_job_age_seconds"):
        assert samples(families[name]) == {(name, ()): 0}
    assert by_label(families["wasmq_module_cache_total"]) == {("hit",): 0, ("miss",): 0}
    for name, family in families.items():
        if family.type == "histogram":
            assert samples(family)[f"{name}_count", ()] == 0


def test_the_client_library_accepts_it_as_a_collector():
    """It can be registered beside the embedding program's own metrics."""
    registry = prometheus_client.CollectorRegistry()
    metrics = Metrics()
    registry.register(metrics)
    metrics.submitted("acme")
    assert registry.get_sample_value("wasmq_jobs_submitted_total", {"tenant": "acme"}) == 1


def test_the_client_library_is_imported_by_the_first_scrape():
    """A program that nobody scrapes does not wait for the import."""
    program = (
        "import sys\nfrom wasmq.metrics import Metrics\nmetrics = Metrics()\nmetrics.submitted('a')\n"
        "assert 'prometheus_client' not in sys.modules\nassert metrics.render()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_finished_job_counts_everywhere():
    """One outcome adds to its tenant's status and fuel, and to the four histograms."""
    metrics = Metrics()
    metrics.submitted("acme", 3)
    metrics.submitted("acme")
    metrics.finished(
        "acme", Outcome(status="trapped", fuel_used=218_906, memory_peak=1_048_576, queued=0.003, ran=0.002)
    )
    families = scrape(metrics)
    assert by_label(families["wasmq_jobs_submitted_total"]) == {("acme",): 4}
    finished = by_label(families["wasmq_jobs_finished_total"])
    assert {key for key, count in finished.items() if count} == {("trapped", "acme")}
    assert finished["trapped", "acme"] == 1
    assert len(finished) == 8  # a rate that starts from nothing shows no first increase
    assert by_label(families["wasmq_fuel_consumed_total"]) == {("acme",): 218_906}
    for name, value in {
        "wasmq_job_wait_seconds": 0.003,
        "wasmq_job_run_seconds": 0.002,
        "wasmq_job_fuel": 218_906,
        "wasmq_job_memory_peak_bytes": 1_048_576,
    }.items():
        assert samples(families[name])[f"{name}_sum", ()] == value
        assert samples(families[name])[f"{name}_count", ()] == 1


@settings(deadline=None, max_examples=60)
@given(
    jobs=st.lists(
        st.tuples(
            st.integers(0, 2**45) | st.sampled_from(metrics_module._JOB_FUEL).map(int),
            st.integers(0, 2**33) | st.sampled_from(metrics_module._JOB_MEMORY).map(int),
            seconds | st.sampled_from(metrics_module._JOB_SECONDS),
            seconds | st.sampled_from(metrics_module._JOB_SECONDS),
        ),
        max_size=20,
    )
)
def test_a_jobs_histograms_are_the_client_librarys_own(jobs):
    """For any jobs, values on a bound included, the scrape is what prometheus_client would have shown."""
    metrics = Metrics()
    for fuel, memory, queued, ran in jobs:
        metrics.finished("t", Outcome(status="succeeded", fuel_used=fuel, memory_peak=memory, queued=queued, ran=ran))
    families = scrape(metrics)
    for position, (name, bounds) in enumerate(
        {
            "wasmq_job_fuel": metrics_module._JOB_FUEL,
            "wasmq_job_memory_peak_bytes": metrics_module._JOB_MEMORY,
            "wasmq_job_wait_seconds": metrics_module._JOB_SECONDS,
            "wasmq_job_run_seconds": metrics_module._JOB_SECONDS,
        }.items()
    ):
        assert samples(families[name]) == theirs(name, bounds, [job[position] for job in jobs])


@settings(deadline=None, max_examples=60)
@given(values=st.lists(seconds | st.sampled_from(metrics_module._COMMIT_SECONDS), max_size=20))
def test_the_other_histograms_are_too(values):
    """Compilations, commits, batches and the loop's lag are counted the same way."""
    metrics = Metrics()
    for value in values:
        metrics.module_compiled(value)
        metrics.committed(value, int(value) % 5000)
        metrics.lagged(value)
    families = scrape(metrics)
    for name, bounds, observed in (
        ("wasmq_module_compile_seconds", metrics_module._COMPILE_SECONDS, values),
        ("wasmq_store_commit_seconds", metrics_module._COMMIT_SECONDS, values),
        ("wasmq_store_batch_size", metrics_module._BATCH, [int(value) % 5000 for value in values]),
        ("wasmq_loop_lag_seconds", metrics_module._LAG_SECONDS, values),
    ):
        assert samples(families[name]) == theirs(name, bounds, observed)


@settings(deadline=None, max_examples=60)
@given(reports=st.lists(st.lists(seconds | st.sampled_from(QUANTUM_BUCKETS), max_size=20), max_size=4))
def test_quanta_counted_in_workers_add_up(reports):
    """Bucket counts from several reports show as if each turn had been observed here."""
    metrics = Metrics()
    total = 0.0
    for turns in reports:
        counts = [0] * (len(QUANTUM_BUCKETS) + 1)
        for length in turns:
            counts[next((i for i, bound in enumerate(QUANTUM_BUCKETS) if length <= bound), -1)] += 1
        metrics.quanta(counts, sum(turns))
        total += sum(turns)
    name = "wasmq_quantum_seconds"
    mine = samples(scrape(metrics)[name])
    expected = theirs(name, QUANTUM_BUCKETS, [length for turns in reports for length in turns])
    assert mine.pop((f"{name}_sum", ())) == total
    del expected[f"{name}_sum", ()]
    assert mine == expected


@pytest.mark.parametrize(
    ("counts", "total"),
    [([], 0.0), ([1] * len(QUANTUM_BUCKETS), 1.0), ([-1] + [0] * len(QUANTUM_BUCKETS), 1.0)]
    + [([1] * (len(QUANTUM_BUCKETS) + 1), total) for total in (float("nan"), float("inf"), -1.0)],
)
def test_a_report_that_no_honest_worker_sends_is_ignored(counts, total):
    """A worker in a guest's hands can neither break a scrape nor spoil a sum for ever."""
    metrics = Metrics()
    metrics.quanta(counts, total)
    assert set(samples(scrape(metrics)["wasmq_quantum_seconds"]).values()) == {0}


@pytest.mark.parametrize("ran", [float("nan"), float("inf"), -1.0])
def test_a_time_that_cannot_be_is_not_observed(ran):
    """The job counts, its impossible time does not."""
    metrics = Metrics()
    metrics.finished("t", Outcome(status="succeeded", ran=ran))
    families = scrape(metrics)
    assert by_label(families["wasmq_jobs_finished_total"])["succeeded", "t"] == 1
    assert set(samples(families["wasmq_job_run_seconds"]).values()) == {0}


def test_tenants_beyond_the_limit_share_a_label():
    """The number of series does not grow with the number of tenants, and no job goes uncounted."""
    metrics = Metrics(max_tenants=2)
    for tenant in ("a", "other", "b", "c", "d", "a", "c"):
        metrics.submitted(tenant)
        metrics.finished(tenant, Outcome(status="succeeded", fuel_used=10))
    families = scrape(metrics)
    assert by_label(families["wasmq_jobs_submitted_total"]) == {("a",): 2, ("b",): 1, ("other",): 4}
    assert by_label(families["wasmq_fuel_consumed_total"]) == {("a",): 20, ("b",): 10, ("other",): 40}
    assert len(by_label(families["wasmq_jobs_finished_total"])) == 3 * 8


@settings(deadline=None, max_examples=60)
@given(names=st.lists(st.text(st.characters(), max_size=8), max_size=8))
def test_any_text_can_be_a_label(names):
    """Quotes, newlines and half a surrogate pair neither break a scrape nor show a series twice."""
    metrics = Metrics()
    for name in names:
        metrics.submitted(name)
        metrics.rejected(name)
        metrics.worker_restarted(name)
    labels = {(name.encode("utf-8", "backslashreplace").decode(),) for name in names}
    registry = prometheus_client.CollectorRegistry()
    registry.register(metrics)
    assert metrics.render()
    for name in ("wasmq_jobs_submitted", "wasmq_rejected", "wasmq_worker_restarts"):
        (family,) = (family for family in registry.collect() if family.name == name)
        assert set(by_label(family)) == labels
        assert sum(by_label(family).values()) == len(names)


def test_reasons_are_bounded():
    """However many different reasons come, the number of series stays small and the sum right."""
    metrics = Metrics()
    for number in range(3 * MAX_REASONS):
        metrics.rejected(f"reason {number}")
        metrics.worker_restarted("exit")
    families = scrape(metrics)
    rejected = by_label(families["wasmq_rejected_total"])
    assert len(rejected) == MAX_REASONS + 1
    assert rejected["other",] == 2 * MAX_REASONS
    assert by_label(families["wasmq_worker_restarts_total"]) == {("exit",): 3 * MAX_REASONS}


def test_module_cache_results():
    """Hits and misses are counted apart."""
    metrics = Metrics()
    for result in ("hit", "miss", "hit"):
        metrics.module_cached(result)
    assert by_label(scrape(metrics)["wasmq_module_cache_total"]) == {("hit",): 2, ("miss",): 1}


def test_build_info_names_what_runs():
    """The labels of the build are those given at the start."""
    metrics = Metrics(engine="native", engine_version="50.0.1+ab", version="0.1.0")
    (sample,) = scrape(metrics)["wasmq_build_info"].samples
    assert sample.labels == {"engine": "native", "engine_version": "50.0.1+ab", "version": "0.1.0"}
    assert sample.value == 1


class Present:
    """Gauges of a scheduler, set by hand."""

    def __init__(self):
        self.states = {"queued": 3, "running": 2, "finished": 9}
        self.age = 1.5

    def jobs(self):
        return self.states

    def oldest_ready_age(self):
        return self.age

    def budgets(self):
        return {"acme": 12, "bolt": 0}

    def instances(self):
        return {"running": 1, "suspended": 1}

    def memory(self):
        return {"admitted": 5, "free": 7}

    def workers(self):
        return 2


def test_gauges_are_read_at_the_scrape():
    """A scrape shows the present, not the moment the gauges were handed over."""
    metrics = Metrics()
    present = Present()
    metrics.watch(present)
    assert by_label(scrape(metrics)["wasmq_jobs"]) == {("queued",): 3, ("running",): 2, ("finished",): 9}
    present.states = {"queued": 0}
    present.age = 0.25
    families = scrape(metrics)
    assert by_label(families["wasmq_jobs"]) == {("queued",): 0}
    assert by_label(families["wasmq_oldest_ready_job_age_seconds"]) == {(): 0.25}
    assert by_label(families["wasmq_fuel_budget_remaining"]) == {("acme",): 12, ("bolt",): 0}
    assert by_label(families["wasmq_instances"]) == {("running",): 1, ("suspended",): 1}
    assert by_label(families["wasmq_workers"]) == {(): 2}


def test_a_gauge_that_keeps_changing_is_left_out():
    """A dictionary that always changes under the scrape costs its own samples and nothing else."""

    class Restless(Present):
        def jobs(self):
            raise RuntimeError("dictionary changed size during iteration")

    metrics = Metrics()
    metrics.watch(Restless())
    families = scrape(metrics)
    assert samples(families["wasmq_jobs"]) == {}
    assert by_label(families["wasmq_workers"]) == {(): 2}


def test_scrapes_from_another_thread_while_jobs_finish():
    """Scrapes in a second thread never fail, and each histogram agrees with its own count."""
    metrics = Metrics(max_tenants=10_000)
    failures = []
    scraped = threading.Event()
    stop = threading.Event()

    def scrape_on():
        try:
            while not stop.is_set():
                for name, family in scrape(metrics).items():
                    if family.type == "histogram":
                        found = samples(family)
                        assert found[f"{name}_bucket", (("le", "+Inf"),)] == found[f"{name}_count", ()]
                scraped.set()
        except BaseException as error:
            failures.append(error)
            scraped.set()

    thread = threading.Thread(target=scrape_on)
    thread.start()
    for number in range(200):
        metrics.finished(f"tenant {number}", Outcome(status="succeeded", fuel_used=number))
        metrics.rejected(f"reason {number}")
        if number % 50 == 49:
            scraped.clear()
            assert scraped.wait(60)
    stop.set()
    thread.join()
    assert not failures


def test_what_another_run_answered_was_not_run():
    """It is a job that finished, and waited; it has not run, and what it is charged is counted."""
    metrics = Metrics()
    metrics.finished("acme", Outcome(status="succeeded", fuel_used=4, queued=0.5, ran=0.1))
    metrics.finished("acme", Outcome(status="succeeded", fuel_used=4, queued=0.5, reused="a"))
    for result in ("hit", "joined", "run", "run"):
        metrics.reused(result)
    text = metrics.render().decode()
    for line in (
        'wasmq_jobs_finished_total{status="succeeded",tenant="acme"} 2.0',
        'wasmq_fuel_consumed_total{tenant="acme"} 8.0',
        "wasmq_job_wait_seconds_count 2.0",
        "wasmq_job_run_seconds_count 1.0",
        "wasmq_job_fuel_count 1.0",
        "wasmq_job_memory_peak_bytes_count 1.0",
        'wasmq_result_reuse_total{result="hit"} 1.0',
        'wasmq_result_reuse_total{result="run"} 2.0',
    ):
        assert line in text.splitlines()
