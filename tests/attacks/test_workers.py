"""Hostile workers: a guest that is out of the engine speaks for its worker, and still only for that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from arena import attack, attacks, beside_a_victim
from leaks import nothing_left
from watching import ENDLESS, sample, until, until_running, workers

if TYPE_CHECKING:
    import wasmq

SPIN = '(module (func (export "spin") (loop $l (br $l))))'
REFUSED = 'wasmq_worker_restarts_total{reason="protocol"}'


@pytest.mark.parametrize("name", attacks("by_workers"))
async def test_a_forged_frame_ends_its_worker_and_nothing_else(make_scheduler, name):
    """Nothing that it says counts: what the worker had runs again in another, and answers elsewhere stay the same."""
    async with nothing_left(), make_scheduler(workers=2) as scheduler:
        module = await scheduler.load(SPIN)
        job = await scheduler.submit(module, "spin", limits=ENDLESS, tenant="attacker")
        await until_running(scheduler, job.id)
        worker, ticket, _ = scheduler._pool.where(job.id)
        pid = scheduler._crew._workers[worker].child.pid
        async with beside_a_victim(scheduler, undisturbed=False):
            _say(scheduler, worker, attack("by_workers", name).forged(ticket))
            await until(lambda: pid not in workers())
            await until_running(scheduler, job.id, 2)
        assert sample(scheduler, REFUSED) == 1.0
        await job.cancel()
        outcome = await job
        assert (outcome.status, outcome.attempts) == ("cancelled", 2)


def _say(scheduler: wasmq.Scheduler, worker: int, said: bytes) -> None:
    """Let bytes come from a worker, in pieces as large as the channel takes."""
    channel = scheduler._crew._workers[worker].channel
    while said:
        room = channel.get_buffer(-1)
        piece, said = said[: len(room)], said[len(room) :]
        room[: len(piece)] = piece
        channel.buffer_updated(len(piece))
