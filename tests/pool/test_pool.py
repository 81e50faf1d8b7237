"""The pool's books, against the plainest ones that can be kept."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from wasmq.job import Call, Caps, Job
from wasmq.modules import Module
from wasmq.pool.memory import Memory
from wasmq.pool.pool import DEPTH, Pool
from wasmq.types import Extern, FunctionType, MemoryType
from wasmq_worker.protocol import Cancel, Ended, Exhausted, GiveUp, Map, ProtocolError, Refuel, Start

MAX_ATTEMPTS = 3


def make_module(digest):
    """A module with two functions, behind something that cannot be called."""
    exports = (
        Extern("memory", MemoryType(1, None, False, False, 65_536)),
        Extern("refers", FunctionType(("externref",), ())),
        Extern("f", FunctionType(("i32",), ("i32",))),
        Extern("g", FunctionType((), ())),
    )
    return Module(
        digest=digest,
        kind="module",
        exports=exports,
        imports=(),
        size=1,
        artifact=Path(f"/artifacts/{digest}"),
        counted=False,
        start=False,
        memory=65_536,
        exported_memory=0,
    )


def make_job(name, *, module="m", export="f", attempt=1, tenant="default"):
    """A job that has just been claimed."""
    return Job(
        id=name,
        call=Call(module, export, (7,) if export == "f" else ()),
        caps=Caps(1_000, 65_536, 1.5, 100),
        tenant=tenant,
        priority=0,
        key=None,
        submitted_at=0.0,
        due=0.0,
        order=0.0,
        cost=1.0,
        attempt=attempt,
    )


def make_pool(instances=10, modules=None, share=2**40):
    """A pool whose modules are made when they are asked for; by default with more memory than anybody needs."""
    known = {} if modules is None else modules
    return Pool(
        instances=instances,
        memory=Memory(share, 1),
        is_last=lambda job: job.attempt - job.returned >= MAX_ATTEMPTS,
        weight=lambda tenant: 2.0 if tenant == "heavy" else 1.0,
        modules=lambda digest: known.setdefault(digest, make_module(digest)),
        counted=lambda digest: known[digest],
    )


def started(sendings):
    """(worker, assignment) for each job that the frames start."""
    return [
        (sending.worker, assignment)
        for sending in sendings
        if isinstance(sending.frame, Start)
        for assignment in sending.frame.jobs
    ]


def test_an_assignment_says_all_that_the_worker_needs():
    """The call, the limits, whose turns it spends; and the module's map goes ahead of the first job that needs it."""
    pool = make_pool()
    pool.join(1)
    mapping, start = pool.assign([make_job("a", tenant="heavy")], 5.0)
    assert (mapping.worker, start.worker) == (1, 1)
    assert isinstance(mapping.frame, Map)
    assert mapping.frame.path == "/artifacts/m"
    assert (mapping.frame.memory, mapping.frame.exported_memory) == (65_536, 0)
    (one,) = start.frame.jobs
    assert one.module == mapping.frame.module
    # Functions that take references are not among the signatures, so "f" is the first of them.
    assert mapping.frame.signatures[one.signature].position == 2
    assert (one.args, one.fuel, one.memory, one.timeout, one.output) == ((7,), 1_000, 65_536, 1.5, 100)
    assert one.weight == 2.0
    assert pool.ended(1, [Ended(one.ticket, "succeeded")]) == [
        (make_job("a", tenant="heavy"), 5.0, Ended(one.ticket, "succeeded"))
    ]


def test_tenants_have_shares_of_their_own():
    """Jobs of one tenant carry the same share, those of another a different one."""
    pool = make_pool()
    pool.join(1)
    jobs = [make_job("a", tenant="x"), make_job("b", tenant="y"), make_job("c", tenant="x")]
    shares = [assignment.share for _, assignment in started(pool.assign(jobs, 0.0))]
    assert shares[0] == shares[2] != shares[1]


def test_a_tenant_that_comes_back_is_known_by_the_same_share():
    """What it owes in a worker stays with it while it has nothing there, and nobody else gets it."""
    pool = make_pool()
    pool.join(1)
    ((_, first),) = started(pool.assign([make_job("a", tenant="x")], 0.0))
    pool.ended(1, [Ended(first.ticket, "succeeded")])
    ((_, between),) = started(pool.assign([make_job("b", tenant="y")], 0.0))
    ((_, second),) = started(pool.assign([make_job("c", tenant="x")], 0.0))
    assert first.share == second.share != between.share


def test_a_tenants_long_jobs_leave_room_for_others():
    """One that has nine times what is free gets no more; another does, and when instances are free again so does it."""
    pool = make_pool(instances=100)
    pool.join(1)
    given = []
    while "hog" not in pool.wants()[1]:
        wanted, _ = pool.wants()
        jobs = [make_job(f"h{len(given) + place}", tenant="hog") for place in range(wanted)]
        given += started(pool.assign(jobs, 0.0))
        pool.underway(1, [assignment.ticket for _, assignment in given])
    assert 90 <= len(given) <= 95
    assert pool.wants()[0] > 0
    pool.assign([make_job("n", tenant="new")], 0.0)
    assert pool.wants()[1] == ["hog"]
    pool.ended(1, [Ended(assignment.ticket, "succeeded") for _, assignment in given[:20]])
    assert pool.wants()[1] == []


def test_a_module_is_mapped_once_per_worker():
    """Each worker is told of a module before its first job of it, and not again."""
    pool = make_pool()
    pool.join(1)
    pool.join(2)
    sendings = pool.assign([make_job(str(n)) for n in range(6)], 0.0)
    maps = [sending.worker for sending in sendings if isinstance(sending.frame, Map)]
    assert sorted(maps) == [1, 2]
    assert not any(isinstance(sending.frame, Map) for sending in pool.assign([make_job("x")], 0.0))


def test_a_module_compiled_again_is_mapped_again():
    """A new artifact for the same digest goes to workers under a number of its own."""
    modules = {}
    pool = make_pool(modules=modules)
    pool.join(1)
    first, _ = pool.assign([make_job("a")], 0.0)
    modules["m"] = make_module("m")
    second, start = pool.assign([make_job("b")], 0.0)
    assert isinstance(second.frame, Map)
    assert second.frame.module != first.frame.module == 1
    assert start.frame.jobs[0].module == second.frame.module


def refuellable_job(name, **changes):
    """A job that is suspended when its fuel is spent."""
    job = make_job(name)
    return msgspec.structs.replace(job, caps=Caps(1_000, 65_536, 1.5, 100, suspend=60.0), **changes)


def test_a_suspended_job_goes_on_with_its_raised_cap():
    """It is not fresh, it is told once, and its books and its frames have what it may spend in all."""
    pool = make_pool()
    pool.join(1)
    ((_, one),) = started(pool.assign([refuellable_job("a", refuelled=500)], 0.0))
    assert (one.fuel, one.refuellable) == (1_500, True)
    job = refuellable_job("a", refuelled=500)
    assert pool.exhausted(1, Exhausted(one.ticket, 1_500)) == job
    assert pool.is_suspended("a")
    assert pool.suspended == 1
    assert pool.give_up("a", "why") == [(1, GiveUp([one.ticket], "why"))]
    raised = refuellable_job("a", refuelled=700)
    assert pool.refuel(raised) == [(1, Refuel(one.ticket, 1_700))]
    assert not pool.is_suspended("a")
    # Crossed on the way: it has been refuelled since.
    assert pool.exhausted(1, Exhausted(one.ticket, 1_500)) is None
    assert pool.refuel(refuellable_job("a", refuelled=600)) == []
    assert pool.where("a") == (1, one.ticket, raised)
    pool.exhausted(1, Exhausted(one.ticket, 1_700))
    assert pool.leave(1) == [raised]
    assert pool.suspended == 0
    assert not pool.is_suspended("a")
    assert pool.refuel(refuellable_job("a", refuelled=900)) == []
    assert pool.give_up("a", "why") == []


def test_an_attempt_is_not_refuelled_for_another():
    """What was recorded for an attempt whose worker has died says nothing to the next one, which has it already."""
    pool = make_pool()
    pool.join(1)
    pool.assign([refuellable_job("a", attempt=2, refuelled=500)], 0.0)
    assert pool.refuel(refuellable_job("a", attempt=1, refuelled=900)) == []


@pytest.mark.parametrize(("job", "fuel"), [("a", 1_001), ("a", 10**30), ("b", 1_000), ("c", 1_000)])
def test_a_suspension_that_cannot_be_is_a_breach(job, fuel):
    """More fuel than it ever had, a job that ends when it is spent, a ticket that is not held: the worker is lying."""
    pool = make_pool()
    pool.join(1)
    tickets = {"c": 77}
    for (_, one), name in zip(started(pool.assign([refuellable_job("a"), make_job("b")], 0.0)), "ab", strict=True):
        tickets[name] = one.ticket
    with pytest.raises(ProtocolError):
        pool.exhausted(1, Exhausted(tickets[job], fuel))
    assert pool.suspended == 0


def test_jobs_go_to_the_worker_with_the_least_to_do():
    """Two workers get the same number of jobs, one that is behind gets the next."""
    pool = make_pool()
    pool.join(1)
    pool.join(2)
    four = started(pool.assign([make_job(str(n)) for n in range(4)], 0.0))
    assert sorted(worker for worker, _ in four) == [1, 1, 2, 2]
    tickets = [assignment.ticket for worker, assignment in four if worker == 2]
    pool.ended(2, [Ended(ticket, "succeeded") for ticket in tickets])
    assert [worker for worker, _ in started(pool.assign([make_job("x"), make_job("y")], 0.0))] == [2, 2]


def test_a_job_underway_makes_room_for_another():
    """The depth bounds jobs that have had no turn, the instances all of them."""
    pool = make_pool(instances=DEPTH + 10)
    pool.join(1)
    given = started(pool.assign([make_job(str(n)) for n in range(DEPTH)], 0.0))
    assert pool.room() == 0
    pool.underway(1, [assignment.ticket for _, assignment in given])
    assert pool.room() == 10


@pytest.mark.parametrize("ticket", [0, -1, 2, 2**63])
def test_a_ticket_that_was_never_given_breaks_the_protocol(ticket):
    """A worker that speaks of a job it does not hold is out of its mind, or in a guest's hands."""
    pool = make_pool()
    pool.join(1)
    pool.join(2)
    ((worker, one),) = started(pool.assign([make_job("a")], 0.0))
    assert one.ticket == 1
    with pytest.raises(ProtocolError, match=str(ticket)):
        pool.ended(worker, [Ended(ticket, "succeeded")])
    with pytest.raises(ProtocolError, match=str(ticket)):
        pool.returned(worker, [ticket])
    other = 3 - worker
    with pytest.raises(ProtocolError, match="1"):
        pool.ended(other, [Ended(1, "succeeded")])
    assert [job.id for job in pool.leave(worker)] == ["a"]


def test_who_had_not_begun_is_innocent_of_a_death():
    """By what the worker said and what it left in its record; when no job at all had begun, nobody is."""
    pool = make_pool()
    pool.join(1)
    tickets = [assignment.ticket for _, assignment in started(pool.assign([make_job(n) for n in "abcd"], 0.0))]
    assert pool.innocent(1, ()) == set()
    assert pool.innocent(1, {tickets[1]}) == {"a", "c", "d"}
    pool.underway(1, tickets[:1])
    assert pool.innocent(1, ()) == {"b", "c", "d"}
    assert pool.innocent(1, {0, 2**64 - 1, tickets[1]}) == {"c", "d"}
    assert pool.innocent(1, tickets) == set()
    assert pool.innocent(2, ()) == set()


def test_no_outcome_comes_twice():
    """A ticket is spent with its outcome."""
    pool = make_pool()
    pool.join(1)
    pool.assign([make_job("a")], 0.0)
    pool.ended(1, [Ended(1, "succeeded")])
    with pytest.raises(ProtocolError):
        pool.ended(1, [Ended(1, "succeeded")])
    with pytest.raises(ProtocolError):
        pool.returned(1, [1])


def test_a_last_attempt_runs_in_a_worker_of_its_own():
    """It waits for one, gets it when one is idle, and nothing else is sent there."""
    pool = make_pool()
    pool.join(1)
    assert started(pool.assign([make_job("last", attempt=3)], 0.0)) == []
    assert (pool.alone, pool.running) == (1, 1)
    assert not pool.is_idle_solo(1)
    pool.join(2, solo=True)
    assert pool.is_idle_solo(2)
    ((worker, one),) = started(pool.feed_alone(2, 0.0))
    assert worker == 2
    assert not pool.is_idle_solo(2)
    assert (pool.alone, pool.running) == (0, 1)
    assert pool.room() == 10
    assert {worker for worker, _ in started(pool.assign([make_job(str(n)) for n in range(10)], 0.0))} == {1}
    assert [job.id for job, _, _ in pool.ended(2, [Ended(one.ticket, "trapped")])] == ["last"]
    assert pool.is_idle_solo(2)
    assert pool.feed_alone(2, 0.0) == []


def test_an_attempt_that_does_not_count_is_not_the_last():
    """Starts that were taken back leave a job among the others."""
    pool = make_pool()
    pool.join(1)
    job = msgspec.structs.replace(make_job("a", attempt=5), returned=4)
    assert [worker for worker, _ in started(pool.assign([job], 0.0))] == [1]


class PoolMachine(RuleBasedStateMachine):
    """Workers come and go, jobs are given and end, in any order.

    The model: worker → ticket → job, the tickets that had no turn yet, and the jobs that wait to run alone.
    """

    workers = Bundle("workers")

    def __init__(self):
        super().__init__()
        self.number = 0
        self.named = 0
        self.shared: dict[int, dict[int, Job]] = {}
        self.solo: dict[int, dict[int, Job]] = {}
        self.fresh: set[int] = set()
        self.alone: list[Job] = []
        self.mapped: dict[int, set[int]] = {}
        self.seen: set[int] = set()

    @initialize(instances=st.integers(1, 5))
    def begin(self, instances):
        self.instances = instances
        self.pool = make_pool(instances)

    def holds(self, worker):
        return self.shared[worker] if worker in self.shared else self.solo[worker]

    def sent(self, sendings):
        """Enter what the frames say into the model, checking each; returns the jobs that were started."""
        begun = []
        for worker, frame in sendings:
            if isinstance(frame, Map):
                assert frame.module not in self.mapped[worker]
                self.mapped[worker].add(frame.module)
                continue
            assert isinstance(frame, Start)
            assert frame.jobs
            for assignment in frame.jobs:
                assert assignment.ticket not in self.seen
                assert assignment.module in self.mapped[worker]
                self.seen.add(assignment.ticket)
                self.fresh.add(assignment.ticket)
                begun.append((worker, assignment.ticket))
        return begun

    @rule(target=workers, solo=st.booleans())
    def join(self, solo):
        self.number += 1
        self.mapped[self.number] = set()
        (self.solo if solo else self.shared)[self.number] = {}
        self.pool.join(self.number, solo=solo)
        self.feed(self.number)
        return self.number

    def feed(self, worker):
        """A worker for single jobs that has none gets the one that has waited longest."""
        idle = worker in self.solo and not self.solo[worker]
        assert self.pool.is_idle_solo(worker) == idle
        if not idle:
            return
        begun = self.sent(self.pool.feed_alone(worker, 0.0))
        assert len(begun) == min(1, len(self.alone))
        for number, ticket in begun:
            assert number == worker
            self.solo[worker][ticket] = self.alone.pop(0)

    @rule(worker=consumes(workers))
    def leave(self, worker):
        """A worker that is gone gives up just the jobs it had, each of them once."""
        held = self.holds(worker)
        assert self.pool.leave(worker) == list(held.values())
        assert self.pool.leave(worker) == []
        self.fresh -= held.keys()
        self.shared.pop(worker, None)
        self.solo.pop(worker, None)

    @precondition(lambda self: self.pool.room() > 0)
    @rule(data=st.data())
    def assign(self, data):
        count = data.draw(st.integers(1, self.pool.room()))
        jobs = []
        for _ in range(count):
            self.named += 1
            attempt = data.draw(st.sampled_from([1, 2, 3, 4]))
            jobs.append(make_job(f"j{self.named}", module=data.draw(st.sampled_from("mn")), attempt=attempt))
        begun = self.sent(self.pool.assign(jobs, 0.0))
        together = [job for job in jobs if job.attempt < MAX_ATTEMPTS]
        self.alone += [job for job in jobs if job.attempt >= MAX_ATTEMPTS]
        assert len(begun) == len(together)
        assert {worker for worker, _ in begun} <= self.shared.keys()
        # Tickets are given in the order of the jobs.
        for job, (worker, ticket) in zip(together, sorted(begun, key=lambda place: place[1]), strict=True):
            self.shared[worker][ticket] = job

    @rule(worker=workers, data=st.data())
    def underway(self, worker, data):
        """Saying so twice does no harm."""
        held = self.holds(worker)
        tickets = data.draw(st.lists(st.sampled_from(list(held)))) if held else []
        self.pool.underway(worker, tickets)
        self.fresh -= set(tickets)

    @rule(worker=workers, data=st.data(), again=st.booleans())
    def end(self, worker, data, again):
        held = self.holds(worker)
        tickets = data.draw(st.lists(st.sampled_from(list(held)), unique=True)) if held else []
        ends = [Ended(ticket, "succeeded") for ticket in tickets]
        expected = [(held.pop(end.ticket), 0.0, end) for end in ends]
        self.fresh -= set(tickets)
        assert self.pool.ended(worker, ends) == expected
        if again and ends:
            with pytest.raises(ProtocolError):
                self.pool.ended(worker, ends[:1])
        self.feed(worker)

    @rule(worker=workers, data=st.data())
    def hand_back(self, worker, data):
        held = self.holds(worker)
        tickets = data.draw(st.lists(st.sampled_from(list(held)), unique=True)) if held else []
        assert self.pool.returned(worker, tickets) == [held.pop(ticket) for ticket in tickets]
        self.fresh -= set(tickets)
        self.feed(worker)

    @rule(worker=workers, data=st.data())
    def lie(self, worker, data):
        """A ticket that this worker does not hold, another's included, is an error and changes nothing.

        Not even where the frame begins with tickets that it does hold: their jobs are still to run elsewhere.
        """
        held = self.holds(worker)
        ticket = data.draw(st.sampled_from([0, 10**6, *self.seen]).filter(lambda ticket: ticket not in held))
        tickets = [*held, ticket]
        with pytest.raises(ProtocolError):
            self.pool.ended(worker, [Ended(each, "succeeded") for each in tickets])
        with pytest.raises(ProtocolError):
            self.pool.returned(worker, tickets)
        with pytest.raises(ProtocolError):
            self.pool.underway(worker, tickets)

    @rule(worker=workers)
    def say_twice(self, worker):
        """One ticket does not end twice in one frame either."""
        held = self.holds(worker)
        if held:
            tickets = [*held, next(iter(held))]
            with pytest.raises(ProtocolError):
                self.pool.ended(worker, [Ended(each, "succeeded") for each in tickets])
            with pytest.raises(ProtocolError):
                self.pool.returned(worker, tickets)

    @rule(data=st.data())
    def cancel(self, data):
        """Just the workers that have the jobs are told, each of its own tickets."""
        places = {job.id: (w, t) for w, held in self.everyone() for t, job in held.items()}
        ids = data.draw(st.lists(st.sampled_from([*places, "nobody"]), unique=True))
        told = {(s.worker, t) for s in self.pool.cancel(ids) for t in s.frame.tickets}
        assert all(isinstance(sending.frame, Cancel) for sending in self.pool.cancel(ids))
        assert told == {places[name] for name in ids if name in places}

    @rule(data=st.data())
    def drop(self, data):
        """Only jobs that wait to run alone are struck off this way."""
        everyone = [job.id for _, held in self.everyone() for job in held.values()]
        waiting = [job.id for job in self.alone]
        ids = data.draw(st.lists(st.sampled_from([*waiting, *everyone, "nobody"]), unique=True))
        assert self.pool.drop_waiting(ids) == [job for job in self.alone if job.id in ids]
        self.alone = [job for job in self.alone if job.id not in ids]

    @rule()
    def disband(self):
        assert self.pool.disband() == self.alone
        self.alone = []

    def everyone(self):
        return [*self.shared.items(), *self.solo.items()]

    @invariant()
    def nothing_is_lost_or_doubled(self):
        names = [job.id for _, held in self.everyone() for job in held.values()] + [job.id for job in self.alone]
        assert len(names) == len(set(names))
        assert self.pool.running == len(names)
        assert self.pool.alone == len(self.alone)
        assert self.pool.workers == len(self.shared) + len(self.solo)

    @invariant()
    def room_is_kept(self):
        free = 0
        for held in self.shared.values():
            assert len(held) <= self.instances
            free += min(self.instances - len(held), DEPTH - len(self.fresh & held.keys()))
        assert self.pool.room() == free

    @invariant()
    def no_more_is_wanted_than_there_is_room_for(self):
        wanted, sated = self.pool.wants()
        room = self.pool.room()
        assert (wanted > 0) == (room > 0)
        assert wanted <= room
        free = sum(self.instances - len(held) for held in self.shared.values())
        live = sum(len(held) for _, held in self.everyone())
        assert sated == (["default"] if live and live >= 9 * free else [])

    @invariant()
    def the_last_attempt_is_alone(self):
        for held in self.solo.values():
            assert len(held) <= 1
        for held in self.shared.values():
            assert all(job.attempt < MAX_ATTEMPTS for job in held.values())


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
