"""How jobs stop running or waiting: with an outcome, by going back into the queue, or cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wasmq.errors import StoreUnavailable
from wasmq.store.postgres.rows import is_id
from wasmq.store.records import encode_outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asyncpg import Record

    from wasmq.clock import Clock
    from wasmq.job import Job, Outcome
    from wasmq.store.postgres.accounts import SharedAccounts
    from wasmq.store.postgres.database import Connection, Database
    from wasmq.store.protocol import Cancellation, Finished


class Endings:
    """Ends what the daemon `owner` runs, and what waits, whoever put it; settles the accounts with it."""

    def __init__(
        self, database: Database, sql: Mapping[str, str], owner: int, accounts: SharedAccounts, clock: Clock
    ) -> None:
        self._database = database
        self._sql = sql
        self._owner = owner
        self._accounts = accounts
        self._clock = clock
        # Ends that may have been recorded: nobody was told within the patience, and will ask again.
        self._untold: set[tuple[str, int]] = set()

    async def finish(self, ends: Sequence[Finished]) -> list[bool]:
        """See `Store.finish`."""
        first: dict[tuple[str, int], Finished] = {}
        for end in ends:
            first.setdefault((end.id, end.attempt), end)
        ids = [end.id for end in first.values()]
        values = (
            ids,
            [end.attempt for end in first.values()],
            [end.outcome.status for end in first.values()],
            [encode_outcome(end.outcome) for end in first.values()],
            self._owner,
            self._clock.wall(),
            [end.shift for end in first.values()],
        )
        used = {key: end.outcome.fuel_used for key, end in first.items()}

        async def work(connection: Connection, tries: int) -> set[tuple[str, int]]:
            rows = await self._end(connection, values, used)
            if tries or not self._untold.isdisjoint(first):
                rows += await connection.fetch(self._sql["recorded"], ids, values[1], self._owner)
            return {(row["id"], row["attempt"]) for row in rows}

        try:
            recorded = await self._database.run(work)
        except StoreUnavailable:
            self._untold.update(first)
            raise
        self._untold.difference_update(first)
        self._accounts.let_go(ids)
        return [(end.id, end.attempt) in recorded and first[end.id, end.attempt] is end for end in ends]

    async def _end(
        self, connection: Connection, values: Sequence[Any], used: Mapping[tuple[str, int], int]
    ) -> list[Record]:
        """Record outcomes and settle accounts in one transaction; `used` is fuel by job and attempt."""
        rows: list[Record]
        if not self._accounts.any_holds(job_id for job_id, _ in used):
            rows = await connection.fetch(self._sql["finish"], *values)
            return rows
        async with connection.transaction():
            rows = await connection.fetch(self._sql["finish"], *values)
            ended = {row["id"]: used[row["id"], row["attempt"]] for row in rows}
            await self._accounts.settle(connection, ended)
        return rows

    async def release(self, jobs: Sequence[Job], *, charged: bool, due: float) -> None:
        """See `Store.release`."""
        ids = [job.id for job in jobs]
        values = (
            ids,
            [job.attempt for job in jobs],
            self._owner,
            "ready" if due <= self._clock.wall() else "delayed",
            due,
            0 if charged else 1,
        )

        async def work(connection: Connection, _: int) -> None:
            if not self._accounts.any_holds(ids):
                await connection.execute(self._sql["release"], *values)
                return
            async with connection.transaction():
                rows = await connection.fetch(self._sql["release"], *values)
                await self._accounts.settle(connection, dict.fromkeys([row["id"] for row in rows], 0))

        await self._database.run(work)
        self._accounts.let_go(ids)

    async def cancel(self, ids: Sequence[str], outcome: Outcome) -> list[Cancellation]:
        """See `Store.cancel`."""
        known = [job_id for job_id in dict.fromkeys(ids) if is_id(job_id)]
        found: dict[str, Cancellation] = {}
        if known:
            start = await self._database.fetch("SELECT clock_timestamp()")
            found = await self._database.run(
                lambda connection, tries: self._cancel(connection, known, outcome, start[0][0] if tries else None)
            )
        answers: list[Cancellation] = []
        for job_id in ids:
            answers.append(found.get(job_id, "unknown"))
            if found.get(job_id) == "cancelled":
                found[job_id] = "finished"
        return answers

    async def _cancel(
        self, connection: Connection, ids: Sequence[str], outcome: Outcome, since: Any
    ) -> dict[str, Cancellation]:
        """Cancel in one transaction. `since` is when an earlier try began whose answer was lost, None at the first."""
        found: dict[str, Cancellation] = {}
        async with connection.transaction():
            for row in await connection.fetch(self._sql["lock_jobs"], ids):
                if row["state"] != "running":
                    found[row["id"]] = "cancelled"
                else:
                    found[row["id"]] = "running" if row["owner"] == self._owner else "elsewhere"
            queued = [job_id for job_id in ids if found.get(job_id) == "cancelled"]
            running = [job_id for job_id in ids if found.get(job_id) in ("running", "elsewhere")]
            if queued:
                now = self._clock.wall()
                encoded = encode_outcome(outcome)
                await connection.execute(self._sql["cancel_queued"], queued, outcome.status, now, self._owner, encoded)
            if running:
                await connection.execute(self._sql["cancel_running"], running)
            rest = [job_id for job_id in ids if job_id not in found]
            for row in await connection.fetch(self._sql["lock_finished"], rest, since) if rest else ():
                ours = row["since"] and row["owner"] == self._owner and row["status"] == "cancelled"
                found[row["id"]] = "cancelled" if ours else "finished"
        return found
