"""Live is claiming, ready is taking jobs with a worker to run them; what is not so says why."""

import asyncio

from watching import running, until

from wasmq.errors import StoreUnavailable

GUEST = '(module (func (export "f")))'


async def test_a_store_that_cannot_record_is_told_of_until_it_can(make_scheduler, tmp_path):
    """Neither live nor ready, with the store's own words; both again when it is back."""
    async with running(make_scheduler, store=f"sqlite:///{tmp_path}/jobs.db") as scheduler:
        assert (scheduler.live, scheduler.ready, scheduler.problem) == (True, True, None)
        commit = scheduler._store._writer._commit
        scheduler._store._writer._commit = lambda operations: [StoreUnavailable("the disk is full")] * len(operations)
        scheduler._work.ring()
        await until(lambda: not scheduler.live)
        assert (scheduler.ready, scheduler.problem) == (False, "the disk is full")
        scheduler._store._writer._commit = commit
        await until(lambda: scheduler.live)
        assert (scheduler.ready, scheduler.problem) == (True, None)


async def test_a_store_that_never_answers_is_not_live(make_scheduler, monkeypatch):
    """Its silence is measured while a claim is under way, and only then."""
    async with running(make_scheduler) as scheduler:
        asked, answer = asyncio.Event(), asyncio.Event()
        claim = scheduler._store.claim

        async def slow(limit, now, passing=()):
            asked.set()
            await answer.wait()
            return await claim(limit, now, passing)

        monkeypatch.setattr(scheduler._store, "claim", slow)
        scheduler._work.ring()
        await asked.wait()
        assert scheduler.live
        scheduler._life.parts.dispatcher._asked -= 41.0
        assert not scheduler.live
        assert scheduler.problem == "the store has not answered for 41 seconds"
        answer.set()
        await until(lambda: scheduler.live)
        await until(lambda: scheduler._life.parts.dispatcher.silent() == 0.0)
        assert (await scheduler.run(await scheduler.load(GUEST), "f")).status == "succeeded"


async def test_without_a_worker_it_is_live_but_not_ready(make_scheduler):
    """Until one is ready again."""
    async with running(make_scheduler) as scheduler:
        for worker in scheduler._crew._workers.values():
            worker.end("killed")
        await until(lambda: not scheduler.ready)
        assert scheduler.live
        assert scheduler.problem == "no worker process is ready"
        await until(lambda: scheduler.ready)
    assert not scheduler.live
    assert scheduler.problem == "the scheduler is stopping, or does not run"
