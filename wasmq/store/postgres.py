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
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import anyio

from wasmq.bell import Bell
from wasmq.errors import StoreUnavailable
from wasmq.logs import get_logger
from wasmq.store.database import Database
from wasmq.store.exchange import Aged, exchange
from wasmq.store.gather import Gather
from wasmq.store.hints import Hints, Listener
from wasmq.store.keys import settle_keys
from wasmq.store.leases import Lease
from wasmq.store.postgres_accounts import SharedAccounts
from wasmq.store.protocol import Fate, Glance, JobRecord, Raised
from wasmq.store.records import decode_job, decode_outcome, encode_job, encode_outcome
from wasmq.store.scripts import statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from asyncpg import Record

    from wasmq.clock import Clock
    from wasmq.config import StoreConfig
    from wasmq.fairness import Charge
    from wasmq.job import Job, Outcome, State, Status
    from wasmq.ledger import Balance, Terms, Wait
    from wasmq.store.database import Connection
    from wasmq.store.protocol import Cancellation, Finished, Loop

_MOST_PUT: Final = 1_000  # jobs in one statement
_MOST_WOKEN: Final = 1_000  # delayed jobs made ready by one claim
_MOST_ORPHANS: Final = 500  # jobs taken over at once
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
        self._lease = Lease(
            self._database,
            self._sql,
            owner=self._owner,
            name=f"{socket.gethostname()}:{os.getpid()}",
            seconds=config.lease,
            patience=config.timeout,
            unclaim=self._unclaim,
        )
        self._accounts = SharedAccounts(self._database, self._sql, self._owner, {})
        self._hints = Hints(self._database, self._owner)
        self._listener = Listener(self._database, self._owner, self.changed)
        self._putting: Gather[Job] = Gather(self._put_plain, most=_MOST_PUT)
        self._claims = 0
        # When the first delayed job is due, and whether that is still known.
        self._first_due: float | None = None
        self._due_is_known = False
        self._round = 1  # of charges
        # As of the last look: jobs that wait by tenant, jobs that run, and since when the oldest could have started.
        self._waiting: dict[str, int] = {}
        self._running = 0
        self._oldest = math.inf
        # Whether priorities or deadlines have a say in what waits, also by what others have put.
        self._ranked = False
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
        self._delays(job.due for job in jobs)
        self._hint()
        return stored

    async def _put_plain(self, jobs: Sequence[Job]) -> None:
        rows = self._rows(jobs)
        await self._database.run(lambda connection, _: connection.execute(self._sql["put"], *rows))

    async def _put_keyed(self, connection: Connection, jobs: Sequence[Job]) -> list[Job]:
        async with connection.transaction():
            stored = await settle_keys(connection, self._sql, jobs)
            own = [job for job, kept in zip(jobs, stored, strict=True) if kept is job]
            await connection.execute(self._sql["put"], *self._rows(own))
        return stored

    def _rows(self, jobs: Sequence[Job]) -> list[list[Any]]:
        now = self._clock.wall()
        self._ranked = self._ranked or any(job.priority or job.deadline is not None for job in jobs)
        return [
            [job.id for job in jobs],
            [job.tenant for job in jobs],
            [job.key for job in jobs],
            [job.priority for job in jobs],
            [job.order for job in jobs],
            [job.due for job in jobs],
            ["ready" if job.due <= now else "delayed" for job in jobs],
            [encode_job(job) for job in jobs],
            [job.deadline for job in jobs],
        ]

    async def claim(self, limit: int, now: float, passing: Sequence[str] = ()) -> list[Job]:
        """See `Store.claim`. What a claim took whose answer was lost is queued again, and its start does not count."""
        await self._wake(now)
        claimed: list[Job] = []
        held = True
        while held and len(claimed) < limit:
            # Behind a tenant that has to wait there may be others who need not.
            room = limit - len(claimed)
            jobs, held = await self._database.run(
                lambda connection, _: self._claim(connection, room, now, passing)  # noqa: B023
            )
            claimed += jobs
        return claimed

    async def _claim(
        self, connection: Connection, limit: int, now: float, passing: Sequence[str] = ()
    ) -> tuple[list[Job], bool]:
        """Start jobs, and say whether others were found that have to wait for their accounts."""
        self._claims += 1
        number = self._claims
        values = (limit, self._owner, number, now, passing)
        waiting: list[str] = []
        holding: set[str] = set()
        try:
            if not (self._accounts.terms or self._ranked):
                rows = await connection.fetch(self._sql["claim"], *values)
                return [_job(row) for row in sorted(rows, key=_turn)], False
            async with connection.transaction():
                rows = await connection.fetch(self._sql["claim"], *values)
                jobs = [_job(row) for row in sorted(rows, key=_turn)]
                if self._ranked:
                    jobs = await self._exchange(connection, [Aged(_job(row), row["age"]) for row in rows], number)
                waiting, holding = await self._accounts.reserve(connection, jobs, now)
                if waiting:
                    await connection.execute(self._sql["unstart"], waiting)
        except BaseException:
            self._lease.lost_claims[number] = anyio.current_time()
            raise
        self._accounts.hold(holding)
        passed = set(waiting)
        return [job for job in jobs if job.id not in passed], bool(waiting)

    async def _exchange(self, connection: Connection, taken: Sequence[Aged], number: int) -> list[Job]:
        """Let other jobs of the same tenants start instead, whose priorities or deadlines say so."""
        tenants = Counter(job.tenant for job, _ in taken)
        rows = await connection.fetch(self._sql["rivals"], list(tenants), list(tenants.values()))
        starting, changed = exchange(taken, [Aged(_job(row), row["age"]) for row in rows])
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

    async def _unclaim(self, numbers: Sequence[int]) -> None:
        """Queue again what claims took whose answers were lost."""

        async def work(connection: Connection, _: int) -> None:
            async with connection.transaction():
                rows = await connection.fetch(self._sql["unclaim"], self._owner, numbers)
                if rows:
                    await self._accounts.settle(connection, dict.fromkeys([row["id"] for row in rows], 0))

        await self._database.run(work)

    async def finish(self, ends: Sequence[Finished]) -> list[bool]:
        """See `Store.finish`. Counts only what this daemon still owns."""
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
            if tries:
                rows += await connection.fetch(self._sql["recorded"], ids, values[1], self._owner)
            return {(row["id"], row["attempt"]) for row in rows}

        recorded = await self._database.run(work)
        self._accounts.let_go(ids)
        self._hint()
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
        self._delays([due])
        self._hint()

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
        if not _is_id(id):
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

    async def cancel(self, ids: Sequence[str], outcome: Outcome) -> list[Cancellation]:
        """See `Store.cancel`. A job that runs is marked, for its daemon to see, should it not be this one."""
        known = [job_id for job_id in dict.fromkeys(ids) if _is_id(job_id)]
        found: dict[str, Cancellation] = {}
        if known:
            start = await self._database.fetch("SELECT clock_timestamp()")
            found = await self._database.run(
                lambda connection, tries: self._cancel(connection, known, outcome, start[0][0] if tries else None)
            )
            self._due_is_known = False
            self._hint()
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

    # Ask.

    async def get(self, id: str) -> JobRecord | None:  # noqa: A002
        """See `Store.get`."""
        if not _is_id(id):
            return None
        rows = await self._database.fetch(self._sql["get"], id)
        return _record(rows[0]) if rows else None

    async def next_due(self, now: float) -> float | None:
        """See `Store.next_due`. What others delay is noticed by the next `tend`."""
        await self._wake(now)
        dues = (self._first_due, self._accounts.next_due(now))
        return min((due for due in dues if due is not None), default=None)

    async def fired(self, name: str) -> float | None:
        """See `Store.fired`."""
        rows = await self._database.fetch(self._sql["fired"], name)
        return rows[0]["fired"] if rows else None

    async def note_fired(self, name: str, at: float) -> None:
        """See `Store.note_fired`."""
        await self._database.execute(self._sql["note_fired"], name, at)

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
        rows = await self._database.fetch(self._sql["fates"], [job_id for job_id in ids if _is_id(job_id)])
        return [
            Fate(row["id"], None if row["outcome"] is None else (_job(row), decode_outcome(row["outcome"])))
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

        async def work(connection: Connection, _: int) -> tuple[list[Record], list[Record]]:
            async with connection.transaction():
                buried = await connection.fetch(self._sql["bury"], self._owner)
                return buried, await connection.fetch(self._sql["adopt"], self._owner, _MOST_ORPHANS)

        buried, rows = await self._database.run(work)
        for row in buried:
            self._log.warning("store.daemon_lost", store=self._database.place, daemon=row["name"])
        self._accounts.hold([row["id"] for row in rows])
        return [_job(row) for row in rows]

    async def tend(self) -> None:
        """See `Store.tend`. The history is one daemon's business at a time."""
        self._due_is_known = False
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
        self._waiting, self._running, self._oldest, self._ranked = waiting, running, oldest, ranked
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
        if not _is_id(digest):
            return None
        rows = await self._database.fetch(self._sql["get_module"], digest)
        return rows[0]["wasm"] if rows else None

    async def _wake(self, now: float) -> None:
        """Make delayed jobs ready whose time has come. Asks the database only when something may have changed."""
        if not self._due_is_known:
            await self._ask_first_due()
        while self._first_due is not None and self._first_due <= now:
            await self._database.execute(self._sql["wake"], now, _MOST_WOKEN)
            await self._ask_first_due()

    async def _ask_first_due(self) -> None:
        self._due_is_known = True
        (row,) = await self._database.fetch(self._sql["first_due"])
        self._first_due = row[0]

    def _delays(self, dues: Iterable[float]) -> None:
        """Note that there are jobs which become due then."""
        now = self._clock.wall()
        if any(due > now for due in dues):
            self._due_is_known = False

    def _hint(self) -> None:
        if self._lease.others:
            self._hints.give()

    async def list(  # last: it hides the type of that name
        self, *, tenant: str | None, status: State | Status | None, after: str | None, limit: int
    ) -> list[JobRecord]:
        """See `Store.list`."""
        if not (tenant is None or tenant.isprintable()) or not (after is None or _is_id(after)):
            return []
        rows = await self._database.fetch(self._sql["list"], tenant, status, after, limit)
        return [_record(row) for row in rows]


def _job(row: Record) -> Job:
    return decode_job(
        row["body"],
        id=row["id"],
        tenant=row["tenant"],
        key=row["key"],
        attempt=row["attempt"],
        returned=row["returned"],
        order=row.get("ord"),
    )


def _record(row: Record) -> JobRecord:
    state: State = row["state"] if row["state"] in ("running", "finished") else "queued"
    outcome = None if row["outcome"] is None else decode_outcome(row["outcome"])
    return JobRecord(_job(row), state, row["attempt"] - row["returned"], outcome)


def _turn(row: Record) -> tuple[float, int]:
    return row["ord"], row["age"]


def _is_id(text: str) -> bool:
    """Return whether a text can be an id at all: whatever a caller sends may be asked for."""
    return text.isascii() and text.isprintable()
