"""The store in a SQLite file."""

import asyncio
import itertools
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import msgspec
import pytest
from clocks import VirtualClock
from conformance import CANCELLED, SUCCEEDED, TRAPPED, StoreContract, make_job, names
from hypothesis import settings
from machine import store_machine

from wasmq.config import StoreConfig
from wasmq.errors import ConfigError, KeyConflict, StoreUnavailable
from wasmq.job import Call, Outcome
from wasmq.store import Finished, open_store
from wasmq.store.records import LARGE
from wasmq.store.sqlite import schema

LARGE_OUTCOME = Outcome(status="succeeded", stdout=b"o" * LARGE, stderr=b"e" * LARGE, attempts=1)


@pytest.fixture
async def open_at():
    """Open a store in the file at a path; what is still open at the end of the test is closed."""
    opened = []

    async def opener(path, config=None, clock=None):
        store = open_store(f"sqlite:///{path}", config or StoreConfig(), clock or VirtualClock())
        store.queued = await store.open()
        opened.append(store)
        return store

    yield opener
    for store in opened:
        await store.close()


@pytest.fixture
def path(tmp_path):
    """Where a store may be."""
    return tmp_path / "jobs.db"


class TestSQLiteStore(StoreContract):
    """Every promise of the contract."""

    @pytest.fixture
    def open_store(self, open_at, tmp_path):
        """How a store in a file is opened."""
        numbers = itertools.count()
        return lambda config, clock: open_at(tmp_path / f"jobs-{next(numbers)}.db", config, clock)

    def test_it_says_that_it_remembers(self, store):
        """The scheduler must know that its jobs do not end with the process."""
        assert store.durable is True


class TestSQLiteMachine(
    store_machine(lambda *given: open_numbered(*given), lambda *given: open_again(*given)).TestCase
):
    """Anything in any order, with the file closed or left as by a crash and opened again in between."""

    settings = settings(max_examples=25, stateful_step_count=30, deadline=None)

    @classmethod
    def setUpClass(cls):
        """Make a directory for all files."""
        cls.directory = tempfile.TemporaryDirectory()

    @classmethod
    def tearDownClass(cls):
        """Remove it."""
        cls.directory.cleanup()


NUMBERS = itertools.count()


async def open_numbered(config, clock, source=None):
    """A store in a new file, or in a copy of what is on disk of another."""
    path = Path(TestSQLiteMachine.directory.name, f"jobs-{next(NUMBERS)}.db")
    for suffix in ("", "-wal") if source is not None else ():
        shutil.copyfile(f"{source}{suffix}", f"{path}{suffix}")
    return await open_untidy(path, config, clock)


async def open_untidy(path, config, clock):
    """A store that forgets finished jobs only when others finish, as the machine's model does."""
    store = open_store(f"sqlite:///{path}", config, clock)
    store.queued = await store.open()
    store._writer._tidy = lambda: False
    return store


async def open_again(store, config, clock, crash):
    """Close a store and open its file; after a crash a copy of what was on disk the moment before."""
    if crash:
        again = await open_numbered(config, clock, store.path)
        await store.close()
    else:
        await store.close()
        again = await open_untidy(store.path, config, clock)
    return again, again.queued


# Opening again.


def untagged(record):
    """What is known of a job but its tag."""
    return msgspec.structs.replace(record, job=msgspec.structs.replace(record.job, order=0.0))


async def test_everything_is_there_after_a_close(open_at, path):
    """Jobs of each state with every field, the order of the queue, keys, delays and history; tags begin anew."""
    clock = VirtualClock()
    store = await open_at(path, clock=clock)
    jobs = [
        make_job("done", clock, order=0.1, key="k"),
        make_job("run", clock, order=0.2),
        make_job("high", clock, order=9.7, priority=3),
        make_job("low", clock, order=0.3),
        make_job("later", clock, order=0.25, delay=10.5),
        make_job("cancelled", clock, order=0.5),
    ]
    await store.put([*jobs[:2]])
    await store.claim(2, clock.now)
    await store.put(jobs[2:])
    await store.finish([Finished("done", 1, LARGE_OUTCOME)])
    await store.cancel(["cancelled"], CANCELLED)
    before = await store.list(tenant=None, status=None, after=None, limit=100)
    await store.close()

    store = await open_at(path, clock=clock)
    after = await store.list(tenant=None, status=None, after=None, limit=100)
    assert [untagged(record) for record in after] == [untagged(record) for record in before]
    assert [(job.id, round(job.order, 9)) for job in store.queued] == [("high", 9.45), ("low", 0.05), ("later", 0.0)]
    assert store.counts() == {"queued": 3, "running": 1}
    assert [(job.id, job.attempt) for job in await store.orphans(clock.now)] == [("run", 1)]
    assert await store.orphans(clock.now) == []
    assert names(await store.put([make_job("again", clock, key="k")])) == ["done"]
    assert await store.next_due(clock.now) == clock.now + 10.5
    assert names(await store.claim(10, clock.now)) == ["high", "low"]
    clock.now += 10.5
    assert names(await store.claim(10, clock.now)) == ["later"]


async def test_orphans_are_released_or_finished_as_any_running_job(open_at, path):
    """The attempt that died stays counted, and its own late outcome does not count after a release."""
    clock = VirtualClock()
    store = await open_at(path, clock=clock)
    await store.put([make_job("a", clock), make_job("b", clock, order=1.0)])
    await store.claim(2, clock.now)
    await store.close()
    store = await open_at(path, clock=clock)
    a, b = await store.orphans(clock.now)
    await store.release([a], charged=True, due=clock.now)
    assert await store.finish([Finished("b", b.attempt, SUCCEEDED), Finished("a", a.attempt, SUCCEEDED)]) == [
        True,
        False,
    ]
    (a,) = await store.claim(10, clock.now)
    assert (a.id, a.attempt) == ("a", 2)


async def test_a_path_is_relative_to_where_the_process_started(open_at, path, monkeypatch):
    """sqlite:///jobs.db is a file in the working directory, and changing that later does not move it."""
    monkeypatch.chdir(path.parent)
    store = await open_at("jobs.db")
    await store.put([make_job("a", VirtualClock())])
    await store.close()
    assert path.exists()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite://host/x.db",
        "sqlite:jobs.db",
        "sqlite:///x.db?mode=ro",
        "sqlite:////",
        "file:x",
    ],
)
def test_what_names_no_store_is_one_line(url):
    """It says what to write instead."""
    with pytest.raises(ConfigError, match=r"^scheduler\.store: '.*' names no store; write 'memory://', 'sqlite:///"):
        open_store(url, StoreConfig(), VirtualClock())


# Files that are not to be had.


async def test_a_second_owner_is_told_who_has_the_file(open_at, path):
    """While a store is open nobody else opens its file, by another name neither; afterwards anybody can."""
    store = await open_at(path)
    link = path.with_name("link.db")
    link.symlink_to(path)
    for name in (path, link):
        with pytest.raises(ConfigError, match=rf"^scheduler\.store: {path} is in use by process {os.getpid()}; "):
            await open_at(name)
    await store.close()
    await open_at(path)


async def refusal(open_at, path):
    """The one line that opening gives; the file can be had by others afterwards."""
    with pytest.raises(ConfigError) as caught:
        await open_at(path)
    line = str(caught.value)
    assert line.startswith("scheduler.store: ")
    assert "\n" not in line
    assert path.name in line
    with pytest.raises(ConfigError) as again:
        await open_at(path)
    assert str(again.value) == line
    return line


async def test_a_missing_directory_is_named(open_at, path):
    """Nothing is made up on the way to a file."""
    line = await refusal(open_at, path.parent / "nowhere" / path.name)
    assert line.endswith(f"there is no directory {path.parent}/nowhere")
    assert not (path.parent / "nowhere").exists()


async def test_a_file_that_is_no_database(open_at, path):
    """It is left as it is."""
    path.write_bytes(b"precious" * 1_000)
    assert "file is not a database" in await refusal(open_at, path)
    assert path.read_bytes() == b"precious" * 1_000


async def test_a_database_of_another_program(open_at, path):
    """Nothing is added to it."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE jobs (id)")
    connection.close()
    before = path.read_bytes()
    assert "is the database of another program" in await refusal(open_at, path)
    assert path.read_bytes() == before


async def test_a_file_of_a_newer_wasmq(open_at, path):
    """It is not touched: what the newer one wrote must not be misread."""
    await (await open_at(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    assert "was written by a newer wasmq (schema 7, this one knows " in await refusal(open_at, path)


async def test_a_damaged_file(open_at, path):
    """What cannot be read is an error at the start."""
    clock = VirtualClock()
    store = await open_at(path, clock=clock)
    await store.put([make_job(f"j{number}", clock) for number in range(1_000)])
    await store.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    assert "malformed" in await refusal(open_at, path)


def test_a_file_that_may_not_be_written(tmp_path):
    """One line, as a user who may only read it or its directory."""
    program = (
        "import asyncio, os, sys\n"
        "from clocks import VirtualClock\n"
        "from wasmq.config import StoreConfig\n"
        "from wasmq.errors import ConfigError\n"
        "from wasmq.store import open_store\n"
        "async def main():\n"
        "    url = 'sqlite:///' + sys.argv[1]\n"
        "    await open_store(url, StoreConfig(), VirtualClock()).open()\n"
        "store = open_store('sqlite:///' + sys.argv[1], StoreConfig(), VirtualClock())\n"
        "if os.geteuid() == 0:\n"
        "    os.setuid(65534)\n"
        "try:\n"
        "    asyncio.run(main())\n"
        "except ConfigError as error:\n"
        "    print(error)\n"
    )
    # Where a user of no rights can get to; a test's own directory is closed to others.
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        file = directory / "jobs.db"
        source = [str(Path(__file__).parent.parent), *sys.path]
        for prepare in (lambda: None, lambda: (file.touch(), file.chmod(0o444), (directory / "jobs.db-lock").touch())):
            prepare()
            done = subprocess.run(
                [sys.executable, "-c", program, str(file)],
                env={"PYTHONPATH": os.pathsep.join(source)},
                capture_output=True,
                text=True,
                check=False,
            )
            assert (done.stdout[:17], done.stdout.count("\n"), done.stderr) == ("scheduler.store: ", 1, "")
            assert "ermission denied" in done.stdout or "readonly" in done.stdout


# The schema.


async def test_an_older_file_is_brought_forward(open_at, path, monkeypatch):
    """Each step that it lacks is made once, and its jobs stay."""
    clock = VirtualClock()
    store = await open_at(path, clock=clock)
    await store.put([make_job("a", clock)])
    await store.close()
    steps = [*schema.migrations(), "CREATE TABLE added (x);\nINSERT INTO added VALUES (1);\n"]
    monkeypatch.setattr(schema, "migrations", lambda: steps)
    for _ in range(2):
        store = await open_at(path, clock=clock)
        assert (await store.get("a")).state == "queued"
        await store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM added").fetchone() == (1,)
        assert connection.execute("PRAGMA user_version").fetchone() == (len(steps),)
    connection.close()


async def test_a_step_that_fails_leaves_the_file_as_it_was(open_at, path, monkeypatch):
    """All of the steps or none: half a schema would belong to no version."""
    await (await open_at(path)).close()
    with monkeypatch.context() as broken:
        steps = [*schema.migrations(), "CREATE TABLE added (x);\n", "CREATE TABLE jobs (x);\n"]
        broken.setattr(schema, "migrations", lambda: steps)
        assert "already exists" in await refusal(open_at, path)
    await open_at(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'added'").fetchall() == []
    connection.close()


async def test_the_queries_use_their_indexes(open_at, path):
    """No read walks through the history for what is unfinished or failed, or sorts it for a page."""
    from wasmq.store.sqlite import statements

    store = await open_at(path)

    def plan(query, **bound):
        rows = store._connection.execute(f"EXPLAIN QUERY PLAN {query}", bound or ("x",) * query.count("?"))
        return "; ".join(row[3] for row in rows)

    bound = {"tenant": "t", "status": "s", "stretch": 0, "below": 1, "limit": 1}
    assert "jobs USING INDEX jobs_by_end (ended=?)" in plan(statements.LIVE)
    assert "USING INDEX sqlite_autoindex_jobs_1 (id=?)" in plan(statements.RECORD)
    for status, tenant in itertools.product((None, "queued", "finished", "succeeded", "trapped"), (False, True)):
        found = plan(statements.listing(tenant=tenant, status=status), **bound)
        assert "TEMP B-TREE" not in found, (status, tenant, found)
        if status == "queued":
            assert "jobs_by_end (ended=?" in found
        elif tenant:
            assert "jobs_by_stretch (<expr>=? AND tenant=?" in found, (status, found)
        elif status == "trapped":
            assert "jobs_by_failure (status=?" in found
    assert "SEARCH jobs USING INTEGER PRIMARY KEY (rowid<?)" in plan(statements.LAST_BELOW)
    assert "jobs_by_key (tenant=? AND key=?)" in plan(statements.BY_KEY._texts[1])


async def test_a_tenants_jobs_are_listed_over_stretches(open_at, path):
    """Newest first, whatever lies between them: other tenants' jobs, and stretches that have been pruned."""
    clock = VirtualClock()
    store = await open_at(path, StoreConfig(history=6_000), clock)
    ids = [f"j{number:05}" for number in range(20_000)]
    tenants = {job_id: "rare" if number % 1_500 == 0 else f"t{number % 3}" for number, job_id in enumerate(ids)}
    for start in range(0, len(ids), 500):
        await store.put([make_job(job_id, clock, tenant=tenants[job_id]) for job_id in ids[start : start + 500]])
    while started := await store.claim(1_000, clock.now):
        # The very first stay where they are; of the rest some fail.
        ends = [job for job in started if job.id > "j00002"]
        await store.finish([Finished(job.id, 1, TRAPPED if job.tenant == "t1" else SUCCEEDED) for job in ends])
    left = names(record.job for record in await store.list(tenant=None, status=None, after=None, limit=30_000))
    assert left[-4] > "j10000"
    assert left[-3:] == ["j00002", "j00001", "j00000"]
    wanted = {
        ("rare", None): lambda _: True,
        ("t1", None): lambda _: True,
        ("t1", "trapped"): lambda job_id: job_id > "j00002",
        ("t1", "succeeded"): lambda _: False,
        ("rare", "finished"): lambda job_id: job_id > "j00002",
    }
    for (tenant, status), is_wanted in wanted.items():
        expected = [job_id for job_id in left if tenants[job_id] == tenant and is_wanted(job_id)]
        found, after = [], None
        while page := await store.list(tenant=tenant, status=status, after=after, limit=700):
            found += names(record.job for record in page)
            after = found[-1]
        assert found == expected, (tenant, status)
    assert await store.list(tenant="rare", status=None, after="none", limit=10) == []
    assert await store.list(tenant="nobody", status=None, after=None, limit=10) == []


# Group commit.


async def test_what_waits_together_is_committed_together(open_at, path):
    """Operations of one turn of the loop share a transaction, and each has its own result or its own error."""
    clock = VirtualClock()
    store = await open_at(path, clock=clock)
    batches = []
    commit = store._writer._commit

    def counted(operations):
        batches.append(len(operations))
        return commit(operations)

    store._writer._commit = counted
    await store.put([make_job("first", clock, key="k")])
    other = make_job("other", clock, key="k", call=Call("m" * 64, "g"))
    results = await asyncio.gather(
        store.put([make_job("a", clock, order=1.0)]),
        store.put([make_job("b", clock, order=2.0), other]),
        store.claim(1, clock.now),
        store.finish([Finished("first", 1, SUCCEEDED)]),
        store.put([make_job("c", clock, order=3.0)]),
        store.cancel(["c", "b"], CANCELLED),
        return_exceptions=True,
    )
    assert batches == [1, 6]
    assert [names(results[0]), names(results[2]), results[3], names(results[4])] == [["a"], ["first"], [True], ["c"]]
    assert isinstance(results[1], KeyConflict)
    assert results[5] == ["cancelled", "unknown"]
    states = {record.job.id: record.state for record in await store.list(tenant=None, status=None, after=None, limit=9)}
    assert states == {"first": "finished", "a": "queued", "c": "finished"}


async def test_a_life_within_one_transaction(open_at, path):
    """Put, claimed, released, claimed and finished before anything was written: the same as if it had taken days."""
    clock = VirtualClock()
    store = await open_at(path, clock=clock)
    job = make_job("a", clock)
    first = make_job("a", clock, attempt=1)
    await asyncio.gather(
        store.put([job]),
        store.claim(1, clock.now),
        store.release([first], charged=False, due=clock.now),
        store.claim(1, clock.now),
        store.finish([Finished("a", 2, LARGE_OUTCOME)]),
    )
    record = await store.get("a")
    assert (record.state, record.attempts, record.outcome) == ("finished", 1, LARGE_OUTCOME)
    assert (record.job.attempt, record.job.returned) == (2, 1)
    await store.close()
    store = await open_at(path, clock=clock)
    assert (store.queued, await store.orphans(clock.now), await store.get("a")) == ([], [], record)


async def test_who_stops_waiting_stops_nothing(open_at, path):
    """A caller that is cancelled has no result; the operation is done, and so are those beside it."""
    clock = VirtualClock()
    store = await open_at(path, clock=clock)
    put = asyncio.ensure_future(store.put([make_job("a", clock)]))
    beside = asyncio.ensure_future(store.put([make_job("b", clock)]))
    await asyncio.sleep(0)
    put.cancel()
    assert names(await beside) == ["b"]
    assert (await store.get("a")).state == "queued"
    assert put.cancelled()


async def test_closing_records_what_was_asked_before(open_at, path):
    """Nothing that was under way is dropped; afterwards the store says that it is closed."""
    clock = VirtualClock()
    store = await open_at(path, clock=clock)
    puts = [asyncio.ensure_future(store.put([make_job(f"j{number}", clock)])) for number in range(20)]
    await asyncio.sleep(0)
    await store.close()
    assert [names(await put) for put in puts] == [[f"j{number}"] for number in range(20)]
    for call in (store.put([]), store.get("j0"), store.claim(1, clock.now)):
        with pytest.raises(StoreUnavailable, match="closed"):
            await call
    store = await open_at(path, clock=clock)
    assert len(store.queued) == 20


# A disk that is full.


class full_disk:  # noqa: N801 - reads as what it is
    """No file can grow beyond its size now."""

    def __init__(self, path):
        self.size = max(file.stat().st_size for file in path.parent.iterdir())

    def __enter__(self):
        self.limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.limits[1]))

    def __exit__(self, *_):
        resource.setrlimit(resource.RLIMIT_FSIZE, self.limits)


async def test_a_full_disk_fails_what_does_not_fit_and_loses_nothing(open_at, path):
    """Each operation fails whole, what was accepted stays as it was, and everything works again once there is room."""
    clock = VirtualClock()
    store = await open_at(path, clock=clock)
    jobs = [make_job(f"j{number}", clock, order=float(number), key=f"k{number}") for number in range(4)]
    await store.put(jobs)
    (started,) = await store.claim(1, clock.now)
    with full_disk(path):
        results = await asyncio.gather(
            store.put([make_job("new", clock, key="new")]),
            store.claim(2, clock.now),
            store.finish([Finished("j0", 1, SUCCEEDED)]),
            store.release([started], charged=False, due=clock.now),
            store.cancel(["j3"], CANCELLED),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [StoreUnavailable] * 5
        assert store.counts() == {"queued": 3, "running": 1}
        assert await store.get("new") is None
        assert (await store.get("j0")).state == "running"
    assert store.oldest_ready(clock.now + 5.0) == 5.0
    assert names(await store.put([make_job("new", clock, order=9.0, key="new")])) == ["new"]
    assert await store.finish([Finished("j0", 1, SUCCEEDED)]) == [True]
    assert await store.cancel(["j3"], CANCELLED) == ["cancelled"]
    claimed = await store.claim(10, clock.now)
    assert [(job.id, job.attempt) for job in claimed] == [("j1", 1), ("j2", 1), ("new", 1)]
    await store.close()
    store = await open_at(path, clock=clock)
    assert names(await store.orphans(clock.now)) == ["j1", "j2", "new"]


# The history.


async def test_the_history_goes_in_steps(open_at, path, monkeypatch):
    """A history that was allowed to be long and is to be short is cut down in idle moments, large records with it."""
    monkeypatch.setattr("wasmq.store.sqlite.writer._TICK", 0.01)
    clock = VirtualClock()
    store = await open_at(path, StoreConfig(history=10_000), clock)
    for start in range(0, 2_000, 500):
        jobs = [
            make_job(f"j{number:05}", clock, key=f"k{number}", call=Call("m" * 64, "f", (b"x" * LARGE,)))
            for number in range(start, start + 500)
        ]
        await store.put(jobs)
        await store.claim(500, clock.now)
        await store.finish([Finished(job.id, 1, LARGE_OUTCOME) for job in jobs])
    await store.close()
    store = await open_at(path, StoreConfig(history=10), clock)

    def count(table):
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            (number,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        connection.close()
        return number

    async with asyncio.timeout(30):
        while count("jobs") > 10:  # noqa: ASYNC110 - the store's thread gives no sign of it
            await asyncio.sleep(0.005)
    assert [count(table) for table in ("jobs", "inputs", "outputs")] == [10, 10, 10]
    assert (await store.get("j01990")).outcome == LARGE_OUTCOME
    assert await store.get("j01989") is None
    assert names(await store.put([make_job("again", clock, key="k0", call=Call("m" * 64, "g"))])) == ["again"]


async def test_a_busy_store_keeps_its_history_in_bounds(open_at, path):
    """With no idle moment the file has never more than a sixteenth beyond the history."""
    clock = VirtualClock()
    store = await open_at(path, StoreConfig(history=160), clock)
    for start in range(0, 1_000, 50):
        jobs = [make_job(f"j{number:05}", clock) for number in range(start, start + 50)]
        await asyncio.gather(
            store.put(jobs),
            store.claim(50, clock.now),
            store.finish([Finished(job.id, 1, SUCCEEDED) for job in jobs]),
        )
        found = await store.list(tenant=None, status="finished", after=None, limit=1_000)
        assert min(start + 50, 160) <= len(found) <= 170


async def test_large_inputs_of_waiting_jobs_are_in_the_file_alone(open_at, path):
    """Memory is bounded by how many jobs wait, not by what their guests are given; so it is after a restart."""
    clock = VirtualClock()

    def call(number):
        return Call("m" * 64, "f", (number, bytes([number]) * 2**20))

    store = await open_at(path, clock=clock)
    tracemalloc.start()
    try:
        for number in range(40):
            await store.put([make_job(f"j{number:02}", clock, key=f"k{number}", call=call(number))])
        assert tracemalloc.get_traced_memory()[0] < 10 * 2**20
        await store.close()
        del store
        store = await open_at(path, clock=clock)
        assert tracemalloc.get_traced_memory()[0] < 10 * 2**20
    finally:
        tracemalloc.stop()
    assert names(store.queued) == [f"j{number:02}" for number in range(40)]
    # A key still stands for the whole call.
    (same,) = await store.put([make_job("again", clock, key="k7", call=call(7))])
    assert (same.id, same.call) == ("j07", call(7))
    with pytest.raises(KeyConflict):
        await store.put([make_job("other", clock, key="k7", call=call(8))])
    (first,) = await store.claim(1, clock.now)
    assert (first.id, first.attempt, first.call) == ("j00", 1, call(0))
    await store.release([first], charged=True, due=clock.now)
    claimed = await store.claim(100, clock.now)
    assert {job.id: job.call.args[0] for job in claimed} == {f"j{number:02}": number for number in range(40)}
    assert {job.call for job in claimed} == {call(number) for number in range(40)}


async def test_large_records_come_back_whole(open_at, path):
    """Inputs and outputs of any size, in `get`, in lists, in claims and to who uses a key again."""
    clock = VirtualClock()
    store = await open_at(path, clock=clock)
    for size in (LARGE - 200, LARGE, 2**20):
        job = make_job(f"s{size}", clock, key=f"k{size}", call=Call("m" * 64, "f", (bytes(size),)))
        await store.put([job])
        (started,) = await store.claim(1, clock.now)
        assert started.call == job.call
        outcome = Outcome(status="trapped", stdout=b"\xff" * size, attempts=1)
        await store.finish([Finished(job.id, 1, outcome)])
        record = await store.get(job.id)
        assert (record.job.call, record.outcome) == (job.call, outcome)
        assert (await store.list(tenant=None, status="trapped", after=None, limit=1)) == [record]
        assert await store.put([make_job("other", clock, key=job.key, call=job.call)]) == [started]
        with pytest.raises(KeyConflict):
            await store.put([make_job("other", clock, key=job.key)])


# Killed at any moment.


async def kill_again_and_again(open_at, path, kills):
    """Kill the journal program so many times, each time after another number of promises; then compare."""
    promised = []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for kill in range(kills):
        command = [sys.executable, str(Path(__file__).with_name("journal.py")), f"sqlite:///{path}", str(kill)]
        with subprocess.Popen(  # noqa: ASYNC220 - nothing else runs here
            command, stdout=subprocess.PIPE, text=True, env=environment
        ) as process:
            promised += [process.stdout.readline() for _ in range(1 + kill * 37 % 400)]
            process.kill()
            promised += process.stdout.readlines()
    store = await open_at(path, StoreConfig(history=10**9))
    records = {record.job.id: record for record in await store.list(tenant=None, status=None, after=None, limit=10**9)}
    claims, ends = {}, {}
    for verb, name, *attempt in map(str.split, promised):
        assert name in records, f"{name} was accepted and is not there"
        match verb:
            case "claim":
                assert int(attempt[0]) not in claims.setdefault(name, set()), f"{name}: one attempt, started twice"
                claims[name].add(int(attempt[0]))
            case "end":
                assert name not in ends, f"{name} has two outcomes"
                ends[name] = int(attempt[0])
    assert len(ends) > kills
    for name, attempts in claims.items():
        assert records[name].job.attempt >= max(attempts)
    for name, attempt in ends.items():
        assert (records[name].state, records[name].job.attempt) == ("finished", attempt)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        numbers = [number for (number,) in connection.execute("SELECT ended FROM jobs WHERE ended NOT NULL ORDER BY 1")]
        assert numbers == list(range(1, len(numbers) + 1))
    connection.close()


async def test_nothing_promised_is_lost_to_a_kill(open_at, path):
    """What was accepted is there, what was claimed is counted, what was finished is finished, and only once."""
    await kill_again_and_again(open_at, path, 4)


@pytest.mark.slow
async def test_nothing_promised_is_lost_to_many_kills(open_at, path):
    """The same sixty times over."""
    await kill_again_and_again(open_at, path, 60)
