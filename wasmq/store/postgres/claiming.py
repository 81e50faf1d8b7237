"""Starting jobs: a claim takes those whose turn it is, reserves what they may use, and passes over those that wait."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import anyio

from wasmq.store.postgres.exchange import Aged, exchange
from wasmq.store.postgres.rows import job_of, turn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wasmq.job import Job
    from wasmq.store.postgres.accounts import SharedAccounts
    from wasmq.store.postgres.database import Connection, Database
    from wasmq.store.postgres.delays import Delays


class Claiming:
    """Claims jobs for the daemon `owner`."""

    def __init__(
        self, database: Database, sql: Mapping[str, str], owner: int, accounts: SharedAccounts, delays: Delays
    ) -> None:
        self.ranked = False
        """Whether priorities or deadlines have a say in what waits, also by what others have put."""
        self.lost: dict[int, float] = {}
        """The numbers of claims that were not answered, each with when that was."""
        self._database = database
        self._sql = sql
        self._owner = owner
        self._accounts = accounts
        self._delays = delays
        self._number = 0

    async def claim(self, limit: int, now: float, passing: Sequence[str] = ()) -> list[Job]:
        """See `Store.claim`."""
        await self._delays.wake(now)
        claimed: list[Job] = []
        held = True
        while held and len(claimed) < limit:
            # Behind a tenant that has to wait there may be others who need not.
            room = limit - len(claimed)
            jobs, held = await self._database.run(
                lambda connection, _: self.start(connection, room, now, passing)  # noqa: B023
            )
            claimed += jobs
        return claimed

    async def start(
        self, connection: Connection, limit: int, now: float, passing: Sequence[str] = ()
    ) -> tuple[list[Job], bool]:
        """Start jobs on a connection, and say whether others were found that have to wait for their accounts."""
        self._number += 1
        number = self._number
        values = (limit, self._owner, number, now, passing)
        waiting: list[str] = []
        holding: set[str] = set()
        try:
            if not (self._accounts.terms or self.ranked):
                rows = await connection.fetch(self._sql["claim"], *values)
                return [job_of(row) for row in sorted(rows, key=turn)], False
            async with connection.transaction():
                rows = await connection.fetch(self._sql["claim"], *values)
                jobs = [job_of(row) for row in sorted(rows, key=turn)]
                if self.ranked:
                    jobs = await self._exchange(connection, [Aged(job_of(row), row["age"]) for row in rows], number)
                waiting, holding = await self._accounts.reserve(connection, jobs, now)
                if waiting:
                    await connection.execute(self._sql["unstart"], waiting)
        except BaseException:
            self.lost[number] = anyio.current_time()
            raise
        self._accounts.hold(holding)
        passed = set(waiting)
        return [job for job in jobs if job.id not in passed], bool(waiting)

    async def _exchange(self, connection: Connection, taken: Sequence[Aged], number: int) -> list[Job]:
        """Let other jobs of the same tenants start instead, whose priorities or deadlines say so."""
        tenants = Counter(job.tenant for job, _ in taken)
        rows = await connection.fetch(self._sql["rivals"], list(tenants), list(tenants.values()))
        starting, changed = exchange(taken, [Aged(job_of(row), row["age"]) for row in rows])
        if changed:
            await connection.execute(
                self._sql["exchange"],
                [job.id for job, _ in changed],
                [starts for _, starts in changed],
                [job.attempt for job, _ in changed],
                [job.order for job, _ in changed],
                self._owner,
                number,
            )
        return starting

    async def unclaim(self, numbers: Sequence[int]) -> None:
        """Queue again what claims took whose answers were lost."""

        async def work(connection: Connection, _: int) -> None:
            async with connection.transaction():
                rows = await connection.fetch(self._sql["unclaim"], self._owner, numbers)
                if rows:
                    await self._accounts.settle(connection, dict.fromkeys([row["id"] for row in rows], 0))

        await self._database.run(work)
