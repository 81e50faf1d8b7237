"""Jobs in a PostgreSQL database that any number of daemons share.

Which clock counts: leases go by the database's own, so that no daemon's clock can end another one's lease. `due` is by
the wall clock of the daemon that puts a job, `now` by that of the daemon that claims. A job without a delay is ready
when it is put, whatever any clock says; a delayed one starts early or late by as much as the two clocks differ, which
`open` warns of when it is more than a second.
"""

from __future__ import annotations

import math
import os
import secrets
import socket
from typing import TYPE_CHECKING, Any, Final

import anyio

from wasmq.bell import Bell
from wasmq.errors import StoreUnavailable
from wasmq.logs import get_logger
from wasmq.store.postgres.accounts import SharedAccounts
from wasmq.store.postgres.claiming import Claiming
from wasmq.store.postgres.database import Database
from wasmq.store.postgres.delays import Delays
from wasmq.store.postgres.endings import Endings
from wasmq.store.postgres.gather import Gather
from wasmq.store.postgres.hints import Hints, Listener
from wasmq.store.postgres.keys import settle_keys
from wasmq.store.postgres.leases import Lease
from wasmq.store.postgres.rows import columns_of, is_id, job_of, record_of
from wasmq.store.postgres.takeovers import Takeovers
from wasmq.store.protocol import Fate, Glance, Raised
from wasmq.store.records import decode_outcome
from wasmq.store.scripts import statements

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wasmq.clock import Clock
    from wasmq.config import StoreConfig
    from wasmq.fairness import Charge
    from wasmq.job import Job, Outcome, State, Status
    from wasmq.ledger import Balance, Terms, Wait
    from wasmq.store.postgres.database import Connection
    from wasmq.store.protocol import Cancellation, Finished, JobRecord, Loop

_MOST_PUT: Final = 1_000  # jobs in one statement
_MOST_FORGOTTEN: Final = 1_000  # finished jobs deleted by one statement
_FORGETTINGS: Final = 20  # such statements in a row
_SHARED_MEMORY: Final = 30.0  # seconds that a finished job is kept for other daemons to see, however short the history
_CLOSING: Final = 5.0  # seconds that giving the lease up may take
_SKEW: Final = 1.0  # seconds between this machine's clock and the database's that are worth a warning


class PostgresStore:
    """A `SharedStore` on PostgreSQL. `url` is a connection URI, with whatever parameters libpq has for one.

    A finished job is kept for half a minute while other daemons share the store, also beyond the history, so that
    whoever waits for it elsewhere gets to see it.
    """

    durable = True

    def __init__(self, url: str, config: StoreConfig, clock: Clock) -> None:
        self.changed = Bell()
        self._config = config
        self._clock = clock
        self._owner = secrets.randbits(63)
        self._sql = statements("postgres")
        self._database = Database(url, config.timeout)
        self._accounts = SharedAccounts(self._database, self._sql, self._owner, {})
        self._delays = Delays(self._database, self._sql)
        self._claiming = Claiming(self._database, self._sql, self._owner, self._accounts, self._delays)
        self._endings = Endings(self._database, self._sql, self._owner, self._accounts, clock)
        self._lease = Lease(
            self._database,
            self._sql,
            owner=self._owner,
            name=f"{socket.gethostname()}:{os.getpid()}",
            seconds=config.lease,
            patience=config.timeout,
            lost_claims=self._claiming.lost,
            unclaim=self._claiming.unclaim,
        )
        self._takeovers = Takeovers(self._database, self._sql, self._owner, config.timeout)
        self._hints = Hints(self._database, self._owner)
        self._listener = Listener(self._database, self._owner, self.changed)
        self._putting: Gather[Job] = Gather(self._put_plain, most=_MOST_PUT)
        self._round = 1  # of charges
        # As of the last look: jobs that wait by tenant, jobs that run, and since when the oldest could have started.
        self._waiting: dict[str, int] = {}
        self._running = 0
        self._oldest = math.inf
        self._log = get_logger()

    async def open(self) -> list[Job]:
        """See `Store.open`. Brings the tables to the newest version, while no other daemon does."""
        await self._database.open()
        try:
            await self._lease.renew()
            (skew,) = await self._database.fetch("SELECT extract(epoch FROM clock_timestamp())::float8")
            behind = skew[0] - self._clock.wall()
            if abs(behind) > _SKEW:
                self._log.warning("store.clock_skew", store=self._database.place, seconds=round(behind, 3))
            await self.tend()
        except BaseException:
            await self._database.close()
            raise
        return []

    async def close(self) -> None:
        """See `Store.close`. Gives the lease up, so that others take over at once what was not handed back."""
        self._putting.close()
        self._hints.close()
        self._listener.close()
        with anyio.move_on_after(_CLOSING, shield=True):
            try:
                await self._lease.retire()
            except StoreUnavailable as error:
                self._log.warning("store.lease_left", store=self._database.place, error=str(error))
        await self._database.close()

    def configure(self, config: StoreConfig) -> None:
        """See `Store.configure`."""
        self._config = config

    def keep_accounts(self, terms: Mapping[str, Terms]) -> None:
        """See `Store.keep_accounts`. Time is the database's, for the accounts are all daemons'."""
        self._accounts.terms = terms

    def loops(self) -> Sequence[Loop]:
        """See `Store.loops`."""
        return (self._lease, self._putting, self._hints, self._listener)

    # Queue.

    async def put(self, jobs: Sequence[Job]) -> list[Job]:
        """See `Store.put`."""
        if any(job.key is not None for job in jobs):
            stored = await self._database.run(lambda connection, _: self._put_keyed(connection, jobs))
        else:
            await self._putting.add(jobs)
            stored = list(jobs)
        self._delays.note([job.due for job in jobs], self._clock.wall())
        self._hint()
        return stored

    async def _put_plain(self, jobs: Sequence[Job]) -> None:
        rows = self._columns(jobs)
        await self._database.run(lambda connection, _: connection.execute(self._sql["put"], *rows))

    async def _put_keyed(self, connection: Connection, jobs: Sequence[Job]) -> list[Job]:
        async with connection.transaction():
            stored = await settle_keys(connection, self._sql, jobs)
            own = [job for job, kept in zip(jobs, stored, strict=True) if kept is job]
            await connection.execute(self._sql["put"], *self._columns(own))
        return stored

    def _columns(self, jobs: Sequence[Job]) -> list[list[Any]]:
        self._claiming.ranked = self._claiming.ranked or any(job.priority or job.deadline is not None for job in jobs)
        return columns_of(jobs, self._clock.wall())

    async def claim(self, limit: int, now: float, passing: Sequence[str] = ()) -> list[Job]:
        """See `Store.claim`. What a claim took whose answer was lost is queued again, and its start does not count."""
        return await self._claiming.claim(limit, now, passing)

    async def finish(self, ends: Sequence[Finished]) -> list[bool]:
        """See `Store.finish`. Counts only what this daemon still owns."""
        recorded = await self._endings.finish(ends)
        self._hint()
        return recorded

    async def release(self, jobs: Sequence[Job], *, charged: bool, due: float) -> None:
        """See `Store.release`."""
        await self._endings.release(jobs, charged=charged, due=due)
        self._delays.note([due], self._clock.wall())
        self._hint()

    async def cancel(self, ids: Sequence[str], outcome: Outcome) -> list[Cancellation]:
        """See `Store.cancel`. A job that runs is marked, for its daemon to see, should it not be this one."""
        found = await self._endings.cancel(ids, outcome)
        if any(each != "unknown" for each in found):
            self._delays.forget()
            self._hint()
        return found

    async def refuel(
        self,
        id: str,  # noqa: A002
        attempt: int,
        fuel: int,
        now: float,
        *,
        here: bool = False,
        most: int = 2**63 - 1,
    ) -> Job | Wait | None:
        """See `SharedStore.refuel`."""
        if not is_id(id):
            return None
        refuelled = await self._accounts.refuel(id, attempt, fuel, here=here, most=most)
        self._hint()
        return refuelled

    async def balance(self, tenant: str) -> Balance:
        """See `Store.balance`."""
        return await self._accounts.balance(tenant)

    async def credit(self, tenant: str, fuel: int, now: float, key: str | None = None) -> bool:
        """See `Store.credit`."""
        credited = await self._accounts.credit(tenant, fuel, key)
        self._hint()
        return credited

    def balances(self) -> Mapping[str, Balance]:
        """See `Store.balances`; as of the last `tend`."""
        return self._accounts.balances

    # Ask.

    async def get(self, id: str) -> JobRecord | None:  # noqa: A002
        """See `Store.get`."""
        if not is_id(id):
            return None
        rows = await self._database.fetch(self._sql["get"], id)
        return record_of(rows[0]) if rows else None

    async def next_due(self, now: float) -> float | None:
        """See `Store.next_due`. What others delay is noticed by the next `tend`."""
        await self._delays.wake(now)
        dues = (self._delays.first, self._accounts.next_due(now))
        return min((due for due in dues if due is not None), default=None)

    async def fired(self, name: str) -> float | None:
        """See `Store.fired`."""
        rows = await self._database.fetch(self._sql["fired"], name)
        return rows[0]["fired"] if rows else None

    async def note_fired(self, name: str, at: float) -> None:
        """See `Store.note_fired`."""
        await self._database.execute(self._sql["note_fired"], name, at)

    async def loaded(self, tenant: str, digests: Sequence[str]) -> set[str]:
        """See `Store.loaded`."""
        known = [digest for digest in digests if is_id(digest)]
        return {row["digest"] for row in await self._database.fetch(self._sql["loaded"], tenant, known)}

    async def note_loaded(self, tenant: str, digest: str, most: int) -> None:
        """See `Store.note_loaded`."""
        await self._database.execute(self._sql["note_loaded"], tenant, digest, most)

    async def look(self, virtual: float, charges: Mapping[str, Charge]) -> Glance:
        """See `SharedStore.look`; what waits is as of the last `tend`."""
        (row,) = await self._database.fetch(self._sql["virtual"], virtual)
        tags = await self._database.fetch(
            self._sql["charge"],
            list(charges),
            [charge.charge for charge in charges.values()],
            [charge.floor for charge in charges.values()],
            self._owner,
            self._round,
        )
        self._round += 1
        return Glance(self._waiting, row[0], dict(tags))

    async def fates(self, ids: Sequence[str]) -> list[Fate]:
        """See `SharedStore.fates`."""
        rows = await self._database.fetch(self._sql["fates"], [job_id for job_id in ids if is_id(job_id)])
        return [
            Fate(row["id"], None if row["outcome"] is None else (job_of(row), decode_outcome(row["outcome"])))
            for row in rows
        ]

    async def wishes(self) -> list[str]:
        """See `SharedStore.wishes`."""
        return [row["id"] for row in await self._database.fetch(self._sql["wishes"], self._owner)]

    async def raised(self) -> list[Raised]:
        """See `SharedStore.raised`."""
        rows = await self._database.fetch(self._sql["raised"], self._owner)
        return [Raised(row["id"], row["attempt"], row["refuelled"]) for row in rows]

    async def told(self, raised: Sequence[Raised]) -> None:
        """See `SharedStore.told`."""
        values = [each.id for each in raised], [each.refuelled for each in raised]
        await self._database.execute(self._sql["told"], *values, self._owner)

    def counts(self) -> dict[str, int]:
        """See `Store.counts`."""
        return {"queued": sum(self._waiting.values()), "running": self._running}

    def oldest_ready(self, now: float) -> float:
        """See `Store.oldest_ready`."""
        return max(0.0, now - self._oldest)

    # Keep in order.

    async def orphans(self, now: float) -> list[Job]:
        """See `Store.orphans`: jobs of daemons whose leases have lapsed."""
        buried, rows = await self._takeovers.take()
        for row in buried:
            self._log.warning("store.daemon_lost", store=self._database.place, daemon=row["name"])
        self._accounts.hold([row["id"] for row in rows])
        return [job_of(row) for row in rows]

    async def tend(self) -> None:
        """See `Store.tend`. The history is one daemon's business at a time."""
        self._delays.forget()
        for _ in range(_FORGETTINGS):
            if await self._database.run(self._forget) < _MOST_FORGOTTEN:
                break
        waiting: dict[str, int] = {}
        running = 0
        oldest = math.inf
        ranked = False
        for row in await self._database.fetch(self._sql["look"]):
            ranked = ranked or row["ranked"]
            if row["state"] == "running":
                running += row["jobs"]
            else:
                waiting[row["tenant"]] = waiting.get(row["tenant"], 0) + row["jobs"]
                oldest = min(oldest, row["oldest"])
        self._waiting, self._running, self._oldest = waiting, running, oldest
        self._claiming.ranked = ranked
        await self._accounts.tend(self._clock.wall(), self._config.history_age)

    async def _forget(self, connection: Connection, _: int) -> int:
        """Delete some finished jobs, and return how many; none while another daemon does."""
        async with connection.transaction():
            if not await self._database.try_lock(connection):
                return 0
            kept_for = _SHARED_MEMORY if self._lease.others else 0.0
            oldest = self._clock.wall() - self._config.history_age
            await connection.execute(self._sql["forget_tags"])
            await connection.execute(self._sql["forget_shifts"])
            await connection.execute(self._sql["forget_charged"])
            await connection.execute(self._sql["forget_refuels"])
            deleted: int = await connection.fetchval(
                self._sql["prune"], self._config.history, oldest, _MOST_FORGOTTEN, kept_for
            )
            return deleted

    async def put_module(self, digest: str, wasm: bytes) -> None:
        """See `Store.put_module`."""
        await self._database.execute(self._sql["put_module"], digest, wasm)

    async def get_module(self, digest: str) -> bytes | None:
        """See `Store.get_module`."""
        if not is_id(digest):
            return None
        rows = await self._database.fetch(self._sql["get_module"], digest)
        return rows[0]["wasm"] if rows else None

    def _hint(self) -> None:
        if self._lease.others:
            self._hints.give()

    async def list(  # last: it hides the type of that name
        self, *, tenant: str | None, status: State | Status | None, after: str | None, limit: int
    ) -> list[JobRecord]:
        """See `Store.list`."""
        if not (tenant is None or tenant.isprintable()) or not (after is None or is_id(after)):
            return []
        rows = await self._database.fetch(self._sql["list"], tenant, status, after, limit)
        return [record_of(row) for row in rows]
