"""What must hold after each round of chaos, whatever was done in it: the promises, over everything there is."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from chaos import ENDLESS, KINDS, PATIENCE, Reference, Told, insist

from wasmq.reconcile import BooksUnbalanced, reconcile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from faults import FaultyStore

    import wasmq
    from wasmq.job import Outcome
    from wasmq.ledger import Balance, Terms
    from wasmq.store import JobRecord

ATTEMPTS = 3
_PAGE = 1_000
_GLANCE = 0.02


class Scene(NamedTuple):
    """All that is known of a scheduler at one moment; jobs by id, figures by tenant."""

    records: Sequence[JobRecord]
    recorded: Mapping[str, Sequence[Outcome]]
    balances: Mapping[str, Balance]
    terms: Mapping[str, Terms]
    counts: Mapping[str, int]
    waiting: Mapping[str, int]
    with_workers: frozenset[str]
    booked: int
    awaited: frozenset[str]
    samples: Mapping[str, float]
    unheard: int
    """Jobs that were put while nobody was told: no counter has them."""


def wrong(scene: Scene, told: Mapping[str, Told], reference: Mapping[str, Reference]) -> list[str]:
    """Return what does not hold, one line each."""
    return [*_jobs(scene, told), *_ends(scene, told, reference), *_books(scene), *_figures(scene)]


def _jobs(scene: Scene, told: Mapping[str, Told]) -> list[str]:
    """Every accepted job is there once, has one outcome or waits for it, and was started so often at most."""
    ids = Counter(record.id for record in scene.records)
    found = [f"{job_id} was accepted and is not there" for job_id in told if job_id not in ids]
    found += [f"{job_id} is there, and nobody submitted it" for job_id in ids if job_id not in told]
    found += [f"{job_id} is there {count} times" for job_id, count in ids.items() if count > 1]
    for record in scene.records:
        outcomes = scene.recorded.get(record.id, ())
        if record.attempts > ATTEMPTS:
            found.append(f"{record.id} was started {record.attempts} times")
        if record.outcome is None:
            if outcomes:
                found.append(f"{record.id} is {record.state} after its outcome was recorded")
            if record.id not in scene.awaited:
                found.append(f"{record.id} is {record.state}, and nobody would be told of its end")
            if (record.state == "running") != (record.id in scene.with_workers):
                found.append(f"{record.id} is {record.state}, and that is not what the workers have")
            continue
        if record.outcome.attempts != record.attempts:
            found.append(f"{record.id} says {record.outcome.attempts} attempts of {record.attempts}: {record.outcome}")
        if len(outcomes) != 1:
            found.append(f"{record.id} has {len(outcomes)} outcomes")
        elif _plain(outcomes[0]) != _plain(record.outcome):
            found.append(f"{record.id} has another outcome than was recorded")
        handle = told[record.id].handle if record.id in told else None
        if handle is not None and (handle.outcome is None or _plain(handle.outcome) != _plain(record.outcome)):
            found.append(f"{record.id} has another outcome than was told: {handle.outcome}")
    return found


def _ends(scene: Scene, told: Mapping[str, Told], reference: Mapping[str, Reference]) -> list[str]:
    """Each job ended as its kind does, with the exact bill, or was lost with its last attempt."""
    found = []
    for record in scene.records:
        outcome = record.outcome
        if outcome is None or record.id not in told:
            continue
        kind = told[record.id].kind
        ends = frozenset({"cancelled"}) if kind == ENDLESS else KINDS[kind].ends
        what = f"{kind} job {record.id}: {outcome.status} with {outcome.fuel_used} fuel, {outcome.error}"
        if outcome.status == "lost":
            if outcome.attempts != ATTEMPTS or outcome.fuel_used:
                found.append(what)
        elif outcome.status not in ends:
            found.append(what)
        elif outcome.status in ("succeeded", "exited", "out_of_fuel"):
            value = outcome.value if outcome.values else None
            if Reference(value, outcome.stdout, outcome.fuel_used) != reference[kind]:
                found.append(what)
        if outcome.fuel_used > record.job.fuel:
            found.append(f"{what}: more than its cap")
    return found


def _books(scene: Scene) -> list[str]:
    """What was granted is spent, reserved or free, and each of these is what the jobs say."""
    try:
        reconcile(scene.balances, scene.records, scene.terms)
    except BooksUnbalanced as error:
        return [f"books: {error}"]
    return []


def _figures(scene: Scene) -> list[str]:
    """Counts, gauges and counters say what the jobs themselves say."""
    unfinished = [record for record in scene.records if record.outcome is None]
    states = Counter({"queued": 0, "running": 0}) + Counter(record.state for record in unfinished)
    expected: Counter[str] = Counter()
    for record in scene.records:
        labels = f'tenant="{record.tenant}"'
        expected[f"wasmq_jobs_submitted_total{{{labels}}}"] += 1
        if record.outcome is not None:
            expected[f'wasmq_jobs_finished_total{{status="{record.outcome.status}",{labels}}}'] += 1
            expected[f"wasmq_fuel_consumed_total{{{labels}}}"] += record.outcome.fuel_used
    found = []
    for state in ("queued", "running"):
        if scene.counts[state] != states[state]:
            found.append(f"the store counts {scene.counts[state]} {state}, and there are {states[state]}")
        if scene.samples.get(f'wasmq_jobs{{state="{state}"}}') != states[state]:
            found.append(f"wasmq_jobs of {state} is not {states[state]}")
    waiting = Counter(record.tenant for record in unfinished if record.state == "queued")
    if dict(scene.waiting) != dict(waiting):
        found.append(f"{dict(scene.waiting)} are counted as waiting, and {dict(waiting)} are")
    if not states["running"] and scene.booked:
        found.append(f"{scene.booked} bytes are booked, and nothing runs")
    unheard = 0
    for name, value in expected.items():
        missing = value - scene.samples.get(name, 0.0)
        if missing and name.startswith("wasmq_jobs_submitted_total"):
            unheard += missing
        elif missing:
            found.append(f"{name} is {scene.samples.get(name)}, and should be {value}")
    if not 0 <= unheard <= scene.unheard:
        found.append(f"{unheard} submitted jobs are not counted, {scene.unheard} of them with an answer that was lost")
    return found


def _plain(outcome: Outcome) -> tuple[object, ...]:
    return (outcome.status, outcome.values, outcome.fuel_used, outcome.stdout, outcome.attempts, outcome.error)


async def look(scheduler: wasmq.Scheduler, store: FaultyStore) -> Scene:
    """Return what there is at one moment: nothing has changed between the first look and the last."""
    async with asyncio.timeout(PATIENCE):
        while True:
            records = await _all(store)
            terms = scheduler._budgets.terms
            balances = {tenant: await insist(lambda tenant=tenant: store.balance(tenant)) for tenant in terms}
            samples = _samples(scheduler)
            scene = Scene(
                records,
                {job_id: list(outcomes) for job_id, outcomes in store.recorded.items()},
                balances,
                terms,
                store.counts(),
                dict(scheduler._gate._by_tenant),
                frozenset(job.id for job in scheduler._pool.jobs()),
                scheduler._pool.memory.booked,
                frozenset(scheduler._handles),
                samples,
                store.lost_puts,
            )
            if [_state(record) for record in records] == [_state(record) for record in await _all(store)]:
                return scene
            await asyncio.sleep(_GLANCE)


async def judge(
    scheduler: wasmq.Scheduler, store: FaultyStore, told: Mapping[str, Told], reference: Mapping[str, Reference]
) -> None:
    """Raise `AssertionError` unless everything comes to hold: an attempt may be on its way just now."""
    end = asyncio.get_running_loop().time() + PATIENCE / 4
    while problems := wrong(await look(scheduler, store), told, reference):
        assert asyncio.get_running_loop().time() < end, "\n".join(problems[:20])
        await asyncio.sleep(_GLANCE)


async def _all(store: FaultyStore) -> list[JobRecord]:
    records: list[JobRecord] = []
    while page := await store.list(tenant=None, status=None, after=records[-1].id if records else None, limit=_PAGE):
        records += page
    return records


def _state(record: JobRecord) -> tuple[object, ...]:
    return record.id, record.state, record.job.attempt, record.attempts


def _samples(scheduler: wasmq.Scheduler) -> dict[str, float]:
    lines = scheduler.metrics.render().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}
