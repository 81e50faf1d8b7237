"""Accounts in a PostgreSQL database that daemons share: locked, decided by the ledger, written, in one transaction.

Locks are taken in one order everywhere: jobs, then what they hold, then accounts by tenant. Time is the database's.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import anyio
import msgspec

from wasmq.admission import check_cap
from wasmq.errors import KeyConflict
from wasmq.ledger import LOOK_AGAIN, Balance, Hold, Ledger, Wait
from wasmq.store.records import decode_job, encode_job

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from asyncpg import Record

    from wasmq.job import Job
    from wasmq.ledger import Terms
    from wasmq.store.postgres.database import Connection, Database

_FIGURES: Final = Balance.__struct_fields__
FRONT = 250
"""Jobs of a tenant that has to wait which stay where claims look, at least; four times as many come back at once."""
_MOST_ASIDE: Final = 20_000  # jobs set aside by one statement


class SharedAccounts:
    """The hand of the daemon `owner` in the accounts. `terms` are those of the tenants that have one here."""

    def __init__(self, database: Database, sql: Mapping[str, str], owner: int, terms: Mapping[str, Terms]) -> None:
        self.terms = terms
        self.balances: dict[str, Balance] = {}
        """All accounts, as of the last look."""
        self.held: dict[str, float] = {}
        """Tenants that this daemon's claims found held, and until when."""
        self._database = database
        self._sql = sql
        self._holding: set[str] = set()
        self._owner = owner
        self._refuelling = anyio.Lock()
        self._refuels = 0

    def hold(self, ids: Iterable[str]) -> None:
        """Note that running jobs may hold something: jobs taken over from others."""
        self._holding.update(ids)

    def let_go(self, ids: Iterable[str]) -> None:
        """Note that jobs have nothing to do with this daemon any more."""
        self._holding.difference_update(ids)

    def any_holds(self, ids: Iterable[str]) -> bool:
        """Return whether any of the jobs may hold something."""
        return not self._holding.isdisjoint(ids)

    def next_due(self, now: float) -> float | None:
        """Return when the first held tenant is to be looked at again, or None."""
        self.held = {tenant: until for tenant, until in self.held.items() if until > now}
        return min(self.held.values(), default=None)

    # Inside the transaction of a claim, a finish or a release.

    async def reserve(self, connection: Connection, jobs: Sequence[Job], now: float) -> tuple[list[str], set[str]]:
        """Reserve for jobs that were claimed, in their order; `now` is by this daemon's clock.

        Returns the ids of those that have to wait, and of those that hold something now. When one has to wait, so do
        all later ones of its tenant.
        """
        tenants = sorted({job.tenant for job in jobs if job.tenant in self.terms})
        if not tenants:
            return [], set()
        ledger, times = await self._lock(connection, tenants)
        waiting: list[str] = []
        holds: dict[str, tuple[str, Hold]] = {}
        look_again: dict[str, float] = {}
        for job in jobs:
            if job.tenant in look_again:
                waiting.append(job.id)
                continue
            if job.tenant not in times:
                continue  # it has had terms for a moment only, and its account is not locked
            decision = ledger.reserve(job, times[job.tenant])
            if isinstance(decision, Wait):
                waiting.append(job.id)
                after = decision.until - times[job.tenant]
                ledger.balances[job.tenant].held_until = now + after
                look_again[job.tenant] = now + min(LOOK_AGAIN, after)
            elif decision is not None:
                holds[job.id] = job.tenant, decision
        self.held |= look_again
        await self._write(connection, ledger, look_again)
        await self._note(connection, holds)
        return waiting, set(holds)

    async def settle(self, connection: Connection, used: Mapping[str, int]) -> None:
        """Settle for jobs that have ended, or start again with nothing used: fuel by job."""
        rows = await connection.fetch(self._sql["let_go"], list(used)) if used else []
        if not rows:
            return
        ledger, _ = await self._lock(connection, sorted({row["tenant"] for row in rows}))
        for row in rows:
            ledger.settle(row["tenant"], _hold(row), used[row["id"]])
            self.held.pop(row["tenant"], None)
        await self._write(connection, ledger, {})

    # In transactions of their own.

    async def refuel(
        self,
        id: str,  # noqa: A002
        attempt: int,
        fuel: int,
        *,
        here: bool,
        most: int,
    ) -> Job | Wait | None:
        """See `SharedStore.refuel`; the job's own daemon is to be told unless a worker `here` has it."""

        async def work(connection: Connection, _: int) -> Job | None:
            async with connection.transaction():
                rows = await connection.fetch(self._sql["lock_running"], id, attempt)
                if not rows:
                    return None
                job = decode_job(**dict(rows[0]))
                # What an earlier try has done whose answer was lost is not done again.
                if await connection.fetchval(self._sql["refuelled"], self._owner, self._refuels):
                    return job
                job = msgspec.structs.replace(job, refuelled=job.refuelled + fuel)
                check_cap(job, most)
                await self._raise(connection, job, fuel)
                told = None if here else job.refuelled
                await connection.execute(self._sql["raise"], id, encode_job(job), told, self._owner, self._refuels)
                return job

        async with self._refuelling:
            self._refuels += 1
            try:
                return await self._database.run(work)
            except _TooPoor as poor:
                return poor.wait

    async def _raise(self, connection: Connection, job: Job, fuel: int) -> None:
        held = await connection.fetch(self._sql["get_hold"], job.id)
        if not held:
            return
        ledger, times = await self._lock(connection, [job.tenant])
        hold = ledger.raise_cap(job.tenant, _hold(held[0]), fuel, times[job.tenant])
        if isinstance(hold, Wait):
            raise _TooPoor(hold)
        await self._write(connection, ledger, {})
        await self._note(connection, {job.id: (job.tenant, hold)})

    async def credit(self, tenant: str, fuel: int, key: str | None) -> bool:
        """See `Store.credit`."""
        known_by = key or f"credit {secrets.token_hex(16)}"

        async def work(connection: Connection, _: int) -> bool:
            async with connection.transaction():
                if not await connection.fetch(self._sql["take_credit"], tenant, known_by, fuel):
                    before = await connection.fetchval(self._sql["get_credit"], tenant, known_by)
                    if before != fuel:
                        raise KeyConflict(f"key {key!r} of tenant {tenant!r} was used for a credit of {before} fuel")
                    return True
                ledger, times = await self._lock(connection, [tenant])
                if not ledger.credit(tenant, fuel, times[tenant]):
                    raise _TooMuch
                await self._write(connection, ledger, {})
                return True

        try:
            credited = await self._database.run(work)
        except _TooMuch:
            return False
        self.held.pop(tenant, None)
        return credited

    async def balance(self, tenant: str) -> Balance:
        """See `Store.balance`."""
        rows = await self._database.fetch(self._sql["accounts"], tenant)
        return _balance(rows[0]) if rows else Balance()

    async def tend(self, now: float, credit_age: float) -> None:
        """Look at all accounts, clear the way for claims, and forget the keys of credits that are older."""
        if not (self.terms or self.balances):
            return
        rows = await self._database.fetch(self._sql["accounts"], None)
        self.balances = {row["tenant"]: _balance(row) for row in rows}
        await self._database.run(lambda connection, _: self._clear_the_way(connection, now, credit_age))

    async def _clear_the_way(self, connection: Connection, now: float, credit_age: float) -> None:
        """Keep so many jobs ready of each tenant that has to wait that no claim walks far, and all of the others.

        One daemon at a time does.
        """
        async with connection.transaction():
            if not await self._database.try_lock(connection):
                return
            await connection.execute(self._sql["forget_credits"], credit_age)
            for lane in await connection.fetch(self._sql["lanes"], now, 2 * FRONT + 1):
                if lane["waits"] and lane["ready"] > 2 * FRONT:
                    await connection.execute(self._sql["set_aside"], lane["tenant"], FRONT, _MOST_ASIDE)
                elif lane["aside"] and (not lane["waits"] or lane["ready"] < FRONT):
                    await connection.execute(self._sql["bring_back"], lane["tenant"], 4 * FRONT)

    async def _lock(self, connection: Connection, tenants: Sequence[str]) -> tuple[Ledger, dict[str, float]]:
        """Return a ledger of these accounts alone, locked, and by tenant the database's time."""
        rows = await connection.fetch(self._sql["lock_accounts"], tenants)
        if len(rows) < len(tenants):
            await connection.execute(self._sql["open_accounts"], tenants)
            rows = await connection.fetch(self._sql["lock_accounts"], tenants)
        balances = {row["tenant"]: _balance(row) for row in rows}
        return Ledger(self.terms, balances), {row["tenant"]: row["now"] for row in rows}

    async def _write(self, connection: Connection, ledger: Ledger, look_again: Mapping[str, float]) -> None:
        """Write what has changed, and when the tenants that have to wait are to be looked at again."""
        changed = sorted({*ledger.changed, *look_again})
        if changed:
            figures = [[getattr(ledger.balances[tenant], name) for tenant in changed] for name in _FIGURES]
            looks = [look_again.get(tenant) for tenant in changed]
            await connection.execute(self._sql["write_accounts"], changed, *figures, looks)

    async def _note(self, connection: Connection, holds: Mapping[str, tuple[str, Hold]]) -> None:
        if holds:
            values = [
                list(holds),
                [tenant for tenant, _ in holds.values()],
                [hold.fuel for _, hold in holds.values()],
                [hold.memory for _, hold in holds.values()],
                [hold.pace for _, hold in holds.values()],
            ]
            await connection.execute(self._sql["hold"], *values)


class _TooPoor(Exception):
    """Raised to roll a refuel back that the account lacks the fuel for."""

    def __init__(self, wait: Wait) -> None:
        super().__init__(wait.why)
        self.wait = wait


class _TooMuch(Exception):
    """Raised to roll a credit back that the account cannot hold."""


def _balance(row: Record) -> Balance:
    return Balance(*[row[name] for name in _FIGURES])


def _hold(row: Record) -> Hold:
    return Hold(row["fuel"], row["memory"], row["pace"])
