"""Memory is booked before it is used: nothing beyond a share, nobody waits for ever, those that fit go on."""

import dataclasses
import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from test_pool import make_job, make_module

from wasmq.job import Call, Caps, Program
from wasmq.pool.memory import INSTANCE, Memory, need_of
from wasmq.pool.pool import LINE, PROBE, Pool
from wasmq.types import Extern, FunctionType, Import, MemoryType
from wasmq_worker.protocol import Ended, Start

MIB = 2**20
SHARE = 100 * MIB


def changed(module, **changes):
    """A module with something else about it."""
    return dataclasses.replace(module, **changes)


def grows(digest):
    """A module whose memory can grow, and so take all that its job may have."""
    return changed(make_module(digest), counted=True, memory=0)


def job_of(name, size, *, attempt=1, priority=0, order=0.0):
    """A job that can come to `size` bytes all in all."""
    job = make_job(name, attempt=attempt)
    return msgspec.structs.replace(
        job, caps=Caps(1_000, size - INSTANCE, 1.5, 100), priority=priority, order=float(order)
    )


def pool_of(workers=1, share=SHARE, instances=1_000):
    """A pool of so many workers with a share each."""
    modules = {}
    pool = Pool(
        instances=instances,
        memory=Memory(share, workers),
        is_last=lambda job: job.attempt >= 3,
        weight=lambda _: 1.0,
        modules=lambda digest: modules.setdefault(digest, grows(digest)),
        counted=lambda digest: modules[digest],
    )
    for number in range(1, workers + 1):
        pool.join(number)
    return pool


def started(sendings):
    """(worker, ticket) for each job that frames start, in the order of their tickets."""
    found = [(each.worker, one.ticket) for each in sendings if isinstance(each.frame, Start) for one in each.frame.jobs]
    return sorted(found, key=lambda place: place[1])


def end(pool, job_id):
    """Let a job end."""
    worker, ticket, _ = pool.where(job_id)
    pool.ended(worker, [Ended(ticket, "succeeded")])


@pytest.mark.parametrize(
    ("changes", "caps", "memory"),
    [
        ({"counted": True, "memory": 65_536}, Caps(1, 10 * MIB, 1.0, 1), 10 * MIB),
        ({"growing": False, "memory": 65_536}, Caps(1, 10 * MIB, 1.0, 1), 65_536),
        ({"growing": False, "exported_memory": -1, "memory": 0}, Caps(1, 10 * MIB, 1.0, 1), 0),
        ({"growing": False, "exported_memory": -1, "memory": 20 * MIB}, Caps(1, 10 * MIB, 1.0, 1), 10 * MIB),
        ({"exported_memory": 0}, Caps(1, 10 * MIB, 1.0, 1), 10 * MIB),
        ({"exported_memory": -1}, Caps(1, 10 * MIB, 1.0, 1), 10 * MIB),
        (
            {"exports": (Extern("memory", MemoryType(1, 3, False, False, 65_536)),), "exported_memory": 0},
            Caps(1, 10 * MIB, 1.0, 1),
            3 * 65_536,
        ),
    ],
)
def test_what_a_module_cannot_have_is_not_booked(changes, caps, memory):
    """A memory that cannot grow, or not so far as the job may, is booked as what it can be; any other as the cap."""
    module = changed(make_module("m"), record=77, **changes)
    job = msgspec.structs.replace(make_job("a"), caps=caps)
    assert need_of(job, [module]) == INSTANCE + 77 + memory


def test_output_files_and_what_is_brought_are_booked():
    """They lie in the worker's memory too: for a guest that can write any, and no other."""
    wasi = FunctionType((), ())
    module = changed(make_module("m"), memory=0, imports=(Import("wasi_snapshot_preview1", "f", wasi),), offers=(wasi,))
    module = changed(module, growing=False)
    job = msgspec.structs.replace(make_job("a", export="g"), caps=Caps(1, MIB, 1.0, 1_000, 20_000))
    assert need_of(job, [module]) == INSTANCE + 1_000
    program = Program(argv=("abc",), env={"k": "vw"}, stdin=b"12345", files={"f": b"1" * 999})
    job = msgspec.structs.replace(job, call=Call("m", "g", (), program))
    assert need_of(job, [module]) == INSTANCE + 21_000 + 3 + 3 + 5


def test_linked_modules_share_one_cap():
    """A linked job is booked with its cap, which is the sum over all its memories, and each part's record."""
    parts = [changed(make_module(name), record=10, memory=0, growing=False) for name in "ab"]
    job = msgspec.structs.replace(make_job("a"), call=Call("a", "f", (1,), None, (("b", "b"),)))
    assert need_of(job, parts) == INSTANCE + job.caps.memory + 20


def test_the_workers_of_a_pool_hold_what_fits():
    """Jobs go where there is memory, not only where there is the least to do; the rest waits and starts in its turn."""
    pool = pool_of(workers=2)
    sendings = pool.assign([job_of(name, 60 * MIB, order=n) for n, name in enumerate("abcd")], 0.0)
    assert [worker for worker, _ in started(sendings)] == [1, 2]
    assert (pool.running, pool.memory.booked) == (4, 120 * MIB)
    assert pool.resume(1.0) == []
    end(pool, "b")
    assert started(pool.resume(1.0)) == [(2, 3)]
    assert pool.where("c") is not None
    assert pool.where("d") is None


def test_a_small_job_goes_by_a_big_one_that_waits():
    """What the big one does not need is given to others, and no more than that."""
    pool = pool_of()
    pool.assign([job_of("first", 50 * MIB), job_of("big", 80 * MIB, order=1)], 0.0)
    assert pool.where("big") is None
    assert len(started(pool.assign([job_of("small", 20 * MIB, order=2)], 0.0))) == 1
    # There is room, but it is the big one's as soon as the first is gone.
    assert started(pool.assign([job_of("late", 10 * MIB, order=3)], 0.0)) == []
    end(pool, "first")
    pool.resume(0.0)
    assert pool.where("big") is not None
    assert pool.where("late") is None
    end(pool, "small")
    pool.resume(0.0)
    assert pool.where("late") is not None


def test_a_job_that_must_run_alone_books_its_memory_too():
    """A worker of its own is no way around the budget: it waits for room, and holds it until it is gone."""
    pool = pool_of()
    pool.assign([job_of("a", 60 * MIB), job_of("last", 60 * MIB, attempt=3, order=1)], 0.0)
    pool.join(9, solo=True)
    assert pool.alone == 0
    assert pool.feed_alone(9, 0.0) == []
    end(pool, "a")
    pool.resume(0.0)
    assert (pool.alone, pool.memory.booked) == (1, 60 * MIB)
    assert started(pool.feed_alone(9, 0.0)) == [(9, 2)]
    assert started(pool.assign([job_of("b", 60 * MIB)], 0.0)) == []
    assert [job.id for job in pool.leave(9)] == ["last"]
    assert len(started(pool.resume(0.0))) == 1


def test_what_died_with_its_worker_is_free_again():
    """A worker that is gone, and the one that comes in its place, have an empty share between them."""
    pool = pool_of()
    pool.assign([job_of("a", 60 * MIB), job_of("b", 60 * MIB, order=1)], 0.0)
    assert [job.id for job in pool.leave(1)] == ["a"]
    assert pool.memory.booked == 0
    assert pool.resume(0.0) == []
    pool.join(2)
    assert [worker for worker, _ in started(pool.resume(0.0))] == [2]


def test_the_line_is_short():
    """While jobs wait for memory fewer are claimed; what the line has no room for is given up, the last turns first."""
    pool = pool_of()
    pool.assign([job_of("a", 90 * MIB)], 0.0)
    free = pool.room()
    pool.assign([job_of("b", 90 * MIB, order=50)], 0.0)
    assert pool.room() == min(free, LINE - 1)
    pool.assign([job_of(f"c{n}", 90 * MIB, order=n) for n in range(LINE + 5)], 0.0)
    assert pool.is_crowded
    assert pool.room() == PROBE
    over = pool.overflow()
    # The one that has a reservation keeps it.
    assert sorted(job.order for job in over) == [LINE - 1, LINE, LINE + 1, LINE + 2, LINE + 3, LINE + 4]
    assert pool.overflow() == []
    assert pool.running == 1 + LINE
    # One whose turn is sooner takes the place of another.
    pool.assign([job_of("soon", 90 * MIB, order=-1)], 0.0)
    assert [job.order for job in pool.overflow()] == [LINE - 2]


def test_who_waits_for_memory_can_be_dropped():
    """Cancelled, or handed back as the scheduler stops; a reservation goes with its job."""
    pool = pool_of()
    pool.assign([job_of("a", 60 * MIB), *[job_of(name, 90 * MIB, order=1) for name in "bcd"]], 0.0)
    assert [job.id for job in pool.jobs()] == ["a", "b", "c", "d"]
    assert [job.id for job in pool.drop_waiting(["b", "x"])] == ["b"]
    assert [job.id for job in pool.disperse()] == ["c", "d"]
    assert pool.running == 1
    assert len(started(pool.assign([job_of("e", 40 * MIB)], 0.0))) == 1
    assert pool.disband() == []


class MemoryMachine(RuleBasedStateMachine):
    """Jobs of all sizes come, end and are cancelled, workers die and come back, in any order."""

    @initialize(workers=st.integers(1, 3))
    def begin(self, workers):
        self.pool = pool_of(workers)
        self.workers = list(range(1, workers + 1))
        self.solo = []
        self.count = workers
        self.number = workers
        self.named = 0
        self.needs = {}

    @rule(sizes=st.lists(st.integers(1, 100), min_size=1, max_size=8), data=st.data())
    def come(self, sizes, data):
        jobs = []
        for size in sizes:
            self.named += 1
            attempt = data.draw(st.sampled_from([1, 1, 1, 3]))
            order = data.draw(st.integers(0, 5))
            job = job_of(f"j{self.named}", max(size * MIB, INSTANCE + 1), attempt=attempt, order=order)
            self.needs[job.id] = need_of(job, [grows("m")])
            jobs.append(job)
        self.pool.assign(jobs, 0.0)
        for job in self.pool.overflow():
            del self.needs[job.id]

    def held(self):
        return [name for name in self.needs if self.pool.where(name) is not None]

    @precondition(lambda self: self.held())
    @rule(data=st.data())
    def end(self, data):
        name = data.draw(st.sampled_from(self.held()))
        end(self.pool, name)
        del self.needs[name]

    @rule()
    def resume(self):
        self.pool.resume(0.0)

    @rule(data=st.data())
    def cancel(self, data):
        names = data.draw(st.lists(st.sampled_from([*self.needs, "nobody"]), unique=True, max_size=3))
        for job in self.pool.drop_waiting(names):
            del self.needs[job.id]

    @precondition(lambda self: self.workers or self.solo)
    @rule(data=st.data())
    def die(self, data):
        worker = data.draw(st.sampled_from([*self.workers, *self.solo]))
        (self.solo if worker in self.solo else self.workers).remove(worker)
        for job in self.pool.leave(worker):
            del self.needs[job.id]

    @precondition(lambda self: len(self.workers) < self.count)
    @rule()
    def come_back(self):
        self.number += 1
        self.workers.append(self.number)
        self.pool.join(self.number)

    @rule()
    def alone(self):
        self.number += 1
        self.pool.join(self.number, solo=True)
        if self.pool.feed_alone(self.number, 0.0):
            self.solo.append(self.number)
        else:
            self.pool.leave(self.number)

    @invariant()
    def nothing_beyond_what_was_given(self):
        """Booked is what jobs with a worker, or that wait for their own, can come to; never more than is given."""
        waiting = {job.id for job in self.pool._line}
        booked = sum(need for name, need in self.needs.items() if name not in waiting)
        assert self.pool.memory.booked == booked <= self.pool.memory.given == self.count * SHARE
        for share in self.pool.memory._shares:
            assert 0 <= share.beside <= share.booked <= SHARE

    @invariant()
    def all_are_accounted_for(self):
        assert self.pool.running == len(self.needs)

    def teardown(self):
        """Once nothing new comes, every job that waits gets its turn: the line empties as others end."""
        if not hasattr(self, "pool"):
            return
        while len(self.workers) < self.count:
            self.come_back()
        for _ in range(3 * len(self.needs) + 3):
            self.pool.resume(0.0)
            self.alone()
            for name in self.held():
                end(self.pool, name)
                del self.needs[name]
        assert self.needs == {}


TestMemoryMachine = MemoryMachine.TestCase
TestMemoryMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@settings(max_examples=60, deadline=None)
@given(big=st.integers(30, 100), small=st.lists(st.integers(1, 60), min_size=1, max_size=30))
def test_a_big_job_is_not_starved(big, small):
    """However many smaller ones keep coming, it starts once those have ended that were there, and the one before it."""
    pool = pool_of()
    named = itertools.count()

    def fill():
        pool.assign([job_of(f"s{next(named)}", size * MIB, order=next(named)) for size in small], 0.0)
        pool.overflow()

    def turn_over():
        """Let each job end that runs now, while others come all the time."""
        for name in [job.id for job in pool.jobs() if pool.where(job.id) is not None]:
            if pool.where("big") is None:
                end(pool, name)
                pool.resume(0.0)
                fill()

    fill()
    pool.assign([job_of("big", big * MIB, order=-1)], 0.0)
    turn_over()
    turn_over()
    assert pool.where("big") is not None


def test_a_job_that_fits_no_share_is_told_of():
    """It waits for nothing that will not come, and is in nobody's way."""
    pool = pool_of(workers=2)
    sendings = pool.assign([job_of("huge", SHARE + 1), job_of("small", 10 * MIB)], 0.0)
    assert len(started(sendings)) == 1
    assert [job.id for job in pool.impossible()] == ["huge"]
    assert pool.impossible() == []
    assert (pool.running, pool.memory.reserved) == (1, None)
