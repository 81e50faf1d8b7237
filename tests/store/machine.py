"""Anything done to a store in any order, compared with a dictionary: hand `store_machine` how a store is opened.

For a durable one also how it is opened again, after it was closed or has crashed.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from clocks import VirtualClock
from conformance import CANCELLED, make_job, names, settled
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from wasmq.config import StoreConfig
from wasmq.errors import KeyConflict
from wasmq.job import Call, Job, Outcome
from wasmq.store import Finished, SharedStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conformance import Opener

    from wasmq.store import Store

    Reopener = Callable[[Store, StoreConfig, VirtualClock, bool], Awaitable[tuple[Store, list[Job]]]]


class _Known:
    """What the model knows of one job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.state = "queued"
        self.attempt = 0
        self.returned = 0
        self.ready_at = job.due
        self.finished_at = 0.0
        self.outcome: Outcome | None = None


def _next(ready: list[_Known]) -> _Known:
    """Take the job that starts next, in its tenant's earliest turn; whose turn that was gets its own in exchange."""
    owner = min(ready, key=lambda known: (known.job.order, known.job.id))
    lane = [known for known in ready if known.job.tenant == owner.job.tenant]
    first = min(lane, key=lambda known: (-known.job.priority, known.job.deadline or math.inf, known.job.id))
    earlier, later = owner.job.order, first.job.order
    owner.job = msgspec.structs.replace(owner.job, order=later)
    first.job = msgspec.structs.replace(first.job, order=earlier)
    ready.remove(first)
    return first


_NOON = VirtualClock().now
KEPT = 4  # finished jobs that the machine's store keeps
KEPT_FOR = 50.0  # seconds


def store_machine(open_store: Opener, reopen: Reopener | None = None) -> type[RuleBasedStateMachine]:
    """Return a state machine that does anything to a store, in any order, and compares it with a dictionary.

    `reopen` gets an open store, its configuration and clock and whether it is to crash; it gives the same jobs in an
    open store again, and what that said was queued.
    """

    class StoreMachine(RuleBasedStateMachine):
        """Jobs are put, claimed, finished in time or too late, released and cancelled while the clock moves on."""

        def __init__(self) -> None:
            super().__init__()
            self.runner = asyncio.Runner()
            self.clock = VirtualClock()
            self.model: dict[str, _Known] = {}
            self.history: list[str] = []
            self.keys: dict[tuple[str, str], str] = {}
            self.spent: list[Job] = []
            self.number = 0

        @initialize()
        def begin(self) -> None:
            self.config = StoreConfig(history=KEPT, history_age=KEPT_FOR)
            self.store = self.runner.run(open_store(self.config, self.clock))

        def teardown(self) -> None:
            if hasattr(self, "store"):
                self.runner.run(self.store.close())
            self.runner.close()

        def named(self, state: str) -> list[str]:
            return [name for name, known in self.model.items() if known.state == state]

        def end(self, name: str, outcome: Outcome) -> None:
            known = self.model[name]
            known.state, known.outcome, known.finished_at = "finished", outcome, self.clock.now
            self.history.append(name)

        def prune(self) -> None:
            self.runner.run(settled(self.store))
            while self.history:
                oldest = self.model[self.history[0]]
                if len(self.history) <= KEPT and self.clock.now - oldest.finished_at <= KEPT_FOR:
                    return
                del self.model[self.history.pop(0)]
                if oldest.job.key is not None:
                    del self.keys[oldest.job.tenant, oldest.job.key]

        @rule(data=st.data(), count=st.integers(1, 4))
        def put(self, data: st.DataObject, count: int) -> None:
            batch = []
            for _ in range(count):
                self.number += 1
                batch.append(
                    make_job(
                        f"j{self.number:05}",
                        self.clock,
                        call=Call("m" * 64, data.draw(st.sampled_from(["f", "f", "f", "g"]))),
                        tenant=data.draw(st.sampled_from("xy")),
                        priority=data.draw(st.integers(-1, 1)),
                        deadline=data.draw(st.sampled_from([None, None, _NOON + 5.0, _NOON + 9.0])),
                        key=data.draw(st.sampled_from([None, None, "k", "l"])),
                        delay=data.draw(st.sampled_from([0.0, 0.0, 5.0, 20.0])),
                        # Unique, so that the order of claims does not depend on what a store knows of age.
                        order=data.draw(st.integers(0, 9)) + self.number / 10**6,
                    )
                )
            keys = dict(self.keys)
            calls = {name: known.job.call for name, known in self.model.items()}
            expected = []
            conflict = False
            for job in batch:
                kept = job.id
                if job.key is not None:
                    kept = keys.setdefault((job.tenant, job.key), job.id)
                calls.setdefault(job.id, job.call)
                conflict = conflict or calls[kept] != job.call
                expected.append(kept)
            if conflict:
                with pytest.raises(KeyConflict):
                    self.runner.run(self.store.put(batch))
                return
            assert names(self.runner.run(self.store.put(batch))) == expected
            self.keys = keys
            for job, kept in zip(batch, expected, strict=True):
                if kept == job.id:
                    self.model[job.id] = _Known(job)

        @rule(limit=st.integers(0, 6))
        def claim(self, limit: int) -> None:
            now = self.clock.now
            ready = [self.model[name] for name in self.named("queued") if self.model[name].ready_at <= now]
            expected_claims = [_next(ready) for _ in range(min(limit, len(ready)))]
            claimed = self.runner.run(self.store.claim(limit, now))
            assert names(claimed) == [known.job.id for known in expected_claims]
            for job, known in zip(claimed, expected_claims, strict=True):
                known.state = "running"
                known.attempt += 1
                expected = msgspec.structs.replace(known.job, attempt=known.attempt, returned=known.returned)
                assert job == expected
                self.spent.append(job)

        @precondition(lambda self: self.spent)
        @rule(data=st.data())
        def finish(self, data: st.DataObject) -> None:
            """Outcomes of any attempt that ever was, in time or late, some of them twice."""
            attempts = data.draw(st.lists(st.sampled_from(self.spent), min_size=1, max_size=5))
            ends, expected = [], []
            for job in attempts:
                outcome = Outcome(status=data.draw(st.sampled_from(["succeeded", "trapped"])), attempts=job.attempt)
                ends.append(Finished(job.id, job.attempt, outcome))
                known = self.model.get(job.id)
                current = known is not None and known.state == "running" and known.attempt == job.attempt
                expected.append(current)
                if current:
                    self.end(job.id, outcome)
            assert self.runner.run(self.store.finish(ends)) == expected
            self.prune()

        @precondition(lambda self: self.spent)
        @rule(data=st.data(), charged=st.booleans(), wait=st.sampled_from([0.0, 0.0, 5.0]))
        def release(self, data: st.DataObject, charged: bool, wait: float) -> None:
            jobs = data.draw(st.lists(st.sampled_from(self.spent), min_size=1, max_size=3))
            due = self.clock.now + wait
            self.runner.run(self.store.release(jobs, charged=charged, due=due))
            for job in jobs:
                known = self.model.get(job.id)
                if known is None or known.state != "running" or known.attempt != job.attempt:
                    continue
                known.state, known.ready_at = "queued", due
                known.returned += not charged

        @rule(data=st.data())
        def cancel(self, data: st.DataObject) -> None:
            ids = data.draw(st.lists(st.sampled_from([*self.model, "nobody"]), max_size=4))
            expected = []
            for name in ids:
                known = self.model.get(name)
                if known is None:
                    expected.append("unknown")
                elif known.state == "queued":
                    self.end(name, CANCELLED)
                    expected.append("cancelled")
                else:
                    expected.append(known.state)
            assert self.runner.run(self.store.cancel(ids, CANCELLED)) == expected
            self.prune()

        @precondition(lambda _: reopen is not None)
        @rule(crash=st.booleans())
        def open_again(self, crash: bool) -> None:
            """Everything is as it was; what ran has nobody to run it any more, which is said once."""
            assert reopen is not None
            self.store, queued = self.runner.run(reopen(self.store, self.config, self.clock, crash))
            shared = isinstance(self.store, SharedStore)
            assert sorted(names(queued)) == ([] if shared else sorted(self.named("queued")))
            orphans = self.runner.run(self.store.orphans(self.clock.now))
            assert {(job.id, job.attempt) for job in orphans} == {
                (name, self.model[name].attempt) for name in self.named("running")
            }
            assert self.runner.run(self.store.orphans(self.clock.now)) == []
            if not shared:
                self.begin_anew()

        def begin_anew(self) -> None:
            """Virtual time begins at 0 with each life of a store that has one owner."""
            for tenant in "xy":
                waiting = [self.model[name] for name in self.named("queued") if self.model[name].job.tenant == tenant]
                earliest = min((known.job.order for known in waiting), default=0.0)
                for known in waiting:
                    known.job = msgspec.structs.replace(known.job, order=known.job.order - earliest)
            for name in self.named("running"):
                self.model[name].job = msgspec.structs.replace(self.model[name].job, order=0.0)

        @rule(seconds=st.sampled_from([0.5, 5.0, 30.0]))
        def advance(self, seconds: float) -> None:
            self.clock.now += seconds

        @rule(
            tenant=st.sampled_from([None, "x"]),
            status=st.sampled_from([None, "queued", "running", "finished", "trapped", "cancelled"]),
            limit=st.integers(1, 4),
        )
        def page(self, tenant: str | None, status: Any, limit: int) -> None:
            """All pages together are all the jobs that were asked for, newest first."""
            wanted = [
                name
                for name in sorted(self.model, reverse=True)
                if tenant in (None, self.model[name].job.tenant)
                and status in (None, self.model[name].state, getattr(self.model[name].outcome, "status", None))
            ]
            found: list[str] = []
            after = None
            while True:
                page = self.store.list(tenant=tenant, status=status, after=after, limit=limit)
                records = self.runner.run(page)
                if not records:
                    break
                assert len(records) <= limit
                found += [record.job.id for record in records]
                after = found[-1]
            assert found == wanted

        @invariant()
        def everything_is_known(self) -> None:
            if not hasattr(self, "store"):
                return
            listed = self.runner.run(self.store.list(tenant=None, status=None, after=None, limit=10_000))
            records = {record.job.id: record for record in listed}
            assert records.keys() == self.model.keys()
            for name, record in records.items():
                known = self.model[name]
                counted = known.attempt - known.returned
                attempts = counted if known.outcome is None else known.outcome.attempts
                seen = (record.state, record.attempts, record.outcome)
                assert seen == (known.state, attempts, known.outcome)
            some = f"j{max(1, self.number - 3):05}"
            assert self.runner.run(self.store.get(some)) == records.get(some)

        @invariant()
        def the_numbers_agree(self) -> None:
            if not hasattr(self, "store"):
                return
            now = self.clock.now
            queued = [self.model[name].ready_at for name in self.named("queued")]
            if isinstance(self.store, SharedStore):
                self.prune()  # for `settled` forgets what has become too old meanwhile
            assert self.store.counts() == {"queued": len(queued), "running": len(self.named("running"))}
            assert self.store.oldest_ready(now) == max([0.0, *(now - ready for ready in queued)])
            due = self.runner.run(self.store.next_due(now))
            assert due == min((ready for ready in queued if ready > now), default=None)

    return StoreMachine
