"""What a store must do. Batches in, batches out: a store that commits in groups takes each batch in one transaction.

A job's life: `put` makes it queued; `claim` makes it running and counts an attempt; `finish` makes it finished, unless
another attempt has begun meanwhile; `release` makes it queued again. Times are seconds on the wall clock, handed in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

import msgspec

from wasmq.errors import KeyConflict
from wasmq.job import Job, Outcome, State, Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anyio.abc import TaskStatus

    from wasmq.bell import Bell
    from wasmq.config import StoreConfig
    from wasmq.fairness import Charge
    from wasmq.ledger import Balance, Terms, Wait

Cancellation: TypeAlias = Literal["cancelled", "running", "elsewhere", "finished", "unknown"]
"""What `cancel` found: a queued job, which is finished now; one that runs here; one that runs in another daemon, which
is told; one that had finished; none."""


_encode = msgspec.msgpack.Encoder().encode


class JobRecord(msgspec.Struct, frozen=True, gc=False):
    """A job as the store knows it. `attempts` counts the starts that count against `max_attempts`.

    Of a finished job it is what the outcome says: the claim of a job whose deadline had passed does not count.

    Of a job that runs, the scheduler that runs it adds whether it is `suspended`, and its `fuel_spent` where known.
    """

    job: Job
    state: State
    attempts: int
    outcome: Outcome | None
    suspended: bool = False
    fuel_spent: int | None = None

    @classmethod
    def of(cls, job: Job, state: State, outcome: Outcome | None) -> JobRecord:
        """Return what is known of a job that has been started `job.attempt` times."""
        return cls(job, state, job.attempt - job.returned if outcome is None else outcome.attempts, outcome)

    @property
    def id(self) -> str:
        """The job's id."""
        return self.job.id

    @property
    def module(self) -> str:
        """The digest of the module that is called."""
        return self.job.call.module

    @property
    def export(self) -> str:
        """The export that is called."""
        return self.job.call.export

    @property
    def tenant(self) -> str:
        """Whose job it is."""
        return self.job.tenant

    @property
    def submitted_at(self) -> float:
        """When it was accepted, in seconds since 1970."""
        return self.job.submitted_at

    def with_receipt(self) -> JobRecord:
        """Return the same record, with an outcome that knows whose it is: stores keep the two apart."""
        if self.outcome is None or self.outcome.basis is not None:
            return self
        return JobRecord(self.job, self.state, self.attempts, self.outcome.of(self.job))


class Finished(msgspec.Struct, frozen=True, gc=False):
    """The end of one attempt: counts only while this attempt is the job's latest.

    `shift` is how far it moves the tags of its tenant's jobs that wait, in fuel: see `Fairness.shift`.
    """

    id: str
    attempt: int
    outcome: Outcome
    shift: float = 0.0


class Fate(msgspec.Struct, frozen=True, gc=False):
    """What has become of a job: with its outcome if it has finished, without if it has not."""

    id: str
    ended: tuple[Job, Outcome] | None


class Raised(msgspec.Struct, frozen=True, gc=False):
    """What a job that runs here was `refuelled` to by another daemon, all in all; `attempt` is the one that runs."""

    id: str
    attempt: int
    refuelled: int


class Glance(msgspec.Struct, frozen=True, gc=False):
    """A look at the whole queue: jobs that wait by tenant, how far the virtual time has come, tenants' finish tags.

    The latter two are in fuel. Who has no finish tag here has none beyond the virtual time.
    """

    waiting: dict[str, int]
    virtual: float
    finishes: dict[str, float]


class Loop(Protocol):
    """What runs as long as a scheduler does."""

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Run until cancelled or told to stop."""
        ...


def check_same(job: Job, earlier: Job) -> None:
    """Raise `KeyConflict` unless a job asks for what the earlier one with the same key asked for."""
    # Compared by their bytes: NaN is not equal to itself.
    if _encode((job.call, job.caps)) != _encode((earlier.call, earlier.caps)):
        raise KeyConflict(f"key {job.key!r} of tenant {job.tenant!r} was used for another call (job {earlier.id})")


class Store(Protocol):
    """The jobs of one queue.

    Every operation raises `StoreUnavailable` when the store cannot do it now; it may be tried again, and what was done
    of it after all is not done twice.
    """

    durable: bool
    """Whether jobs outlive the process."""

    async def open(self) -> list[Job]:
        """Get ready, and return the queued jobs that are there already for this process alone to start.

        Raises `ConfigError` when the store is not to be had, `ResourceUnavailable` when it may be later.
        """
        ...

    async def close(self) -> None:
        """Let go; what was put is kept if the store is durable."""
        ...

    def configure(self, config: StoreConfig) -> None:
        """Take another length and age of the history from now on; the rest of `config` counts only at the start."""
        ...

    async def orphans(self, now: float) -> list[Job]:
        """Take over the running jobs whose process is gone, each once: what becomes of them is now up to the caller."""
        ...

    async def put(self, jobs: Sequence[Job]) -> list[Job]:
        """Queue jobs, all or none; once this returns they are accepted.

        Returns for each job the one that is in the store: itself, or the earlier one of its tenant with the same key.
        Raises `KeyConflict` when that one is not the same call with the same limits.
        """
        ...

    async def claim(self, limit: int, now: float, passing: Sequence[str] = ()) -> list[Job]:
        """Start up to `limit` jobs that are due, none of those tenants that are `passing`. Each counts an attempt.

        Between tenants by order, then age; which of a tenant's jobs it is that starts, by priority, deadline and age.
        """
        ...

    async def finish(self, ends: Sequence[Finished]) -> list[bool]:
        """Record outcomes; False for each that came late, which changes nothing.

        Told again after a `StoreUnavailable`, one that was recorded then counts as recorded.
        """
        ...

    async def release(self, jobs: Sequence[Job], *, charged: bool, due: float) -> None:
        """Queue running jobs again, to start at `due` or later; uncharged, the start just made does not count."""
        ...

    def keep_accounts(self, terms: Mapping[str, Terms]) -> None:
        """Keep the accounts of the tenants that are in `terms`, as it stands whenever one is looked up.

        Called at most once, before `open`. `claim` then reserves what a job may use (its `fuel`, its memory cap, one
        job running) and passes over tenants whose account does not allow it; `finish` spends what the outcome says was
        used and frees the rest, in the same transaction; `release` frees it all.
        """
        ...

    async def refuel(self, id: str, attempt: int, fuel: int, now: float) -> Job | Wait | None:  # noqa: A002
        """Add to the cap of a running job, and reserve as much of its tenant's account.

        Returns the job with its new `refuelled`; why and until when the account lacks the fuel; or None when this
        attempt does not run here any more. That the raised cap is one which a job may have is up to the caller.
        """
        ...

    async def balance(self, tenant: str) -> Balance:
        """Return the figures of a tenant's account, all 0 where there is none yet."""
        ...

    async def credit(self, tenant: str, fuel: int, now: float, key: str | None = None) -> bool:
        """Grant fuel to a tenant beside its budget; False, and nothing granted, when its account cannot hold so much.

        With a `key` that was used before, for as long as the history goes back, nothing more is granted. Raises
        `KeyConflict` when that was for another amount, and `StoreUnavailable`: nobody knows then whether it was
        granted, so try again with the key.
        """
        ...

    def balances(self) -> Mapping[str, Balance]:
        """Return the figures of all accounts, as last known here. Not to be changed."""
        ...

    async def cancel(self, ids: Sequence[str], outcome: Outcome) -> list[Cancellation]:
        """Finish those of the jobs that are queued with `outcome`."""
        ...

    async def get(self, id: str) -> JobRecord | None:  # noqa: A002
        """Return a job, or None when there is none with this id (any more)."""
        ...

    async def list(
        self, *, tenant: str | None, status: State | Status | None, after: str | None, limit: int
    ) -> list[JobRecord]:
        """Return jobs, newest first, beginning behind the job `after`."""
        ...

    async def next_due(self, now: float) -> float | None:
        """Return when the next delayed job becomes due, or None when none waits for its time."""
        ...

    async def fired(self, name: str) -> float | None:
        """Return when a periodic schedule last fired, in seconds since 1970; None when nothing is known of it."""
        ...

    async def note_fired(self, name: str, at: float) -> None:
        """Note when a periodic schedule fired; an earlier time than the one that is known changes nothing."""
        ...

    async def loaded(self, tenant: str, digests: Sequence[str]) -> set[str]:
        """Return which of some modules were noted for a tenant, or for everybody."""
        ...

    async def note_loaded(self, tenant: str, digest: str, most: int) -> None:
        """Note that a tenant has loaded a module, or with the tenant "" that everybody has it.

        Of each tenant's the last `most` are kept.
        """
        ...

    def counts(self) -> dict[str, int]:
        """Return how many jobs are queued and running."""
        ...

    def oldest_ready(self, now: float) -> float:
        """Return for how many seconds the job that waits longest could have started; 0 when none waits."""
        ...


@runtime_checkable
class SharedStore(Store, Protocol):
    """A store that other daemons take jobs from too, and put jobs into.

    A claimed job belongs to the daemon that claimed it, until that one finishes or releases it, or loses its lease:
    then `orphans` gives it to another, and `finish` refuses what the first one says of it.
    """

    changed: Bell
    """Rung when another daemon did something that may concern this one; only a hint, so look now and then anyway."""

    def loops(self) -> Sequence[Loop]:
        """Return what has to run while the store is open. It ends by itself when the store is closed."""
        ...

    async def tend(self) -> None:
        """Forget finished jobs beyond the history, and look again at what `counts` and `oldest_ready` say."""
        ...

    async def look(self, virtual: float, charges: Mapping[str, Charge]) -> Glance:
        """Say how far the virtual time is here and what tenants were charged, and look at the whole queue.

        Raises `StoreUnavailable`; nobody knows then whether they were charged, so the next call has to name the same
        charges again: they are charged once.
        """
        ...

    async def fates(self, ids: Sequence[str]) -> list[Fate]:
        """Return what has become of jobs; those that are not known, or not any more, are left out."""
        ...

    async def wishes(self) -> list[str]:
        """Return the jobs that run here and that some daemon wants cancelled."""
        ...

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
        """Do the same for a job that any daemon runs: its own hears of it by `raised`, unless it runs `here`.

        Raises `LimitTooHigh` when the job might then spend more than `most` in all: others may raise its cap as well.
        """
        ...

    async def raised(self) -> list[Raised]:
        """Return the jobs of this daemon that were refuelled and of which it has not yet said that it was `told`."""
        ...

    async def told(self, raised: Sequence[Raised]) -> None:
        """Return these no more, unless they are refuelled again."""
        ...

    async def put_module(self, digest: str, wasm: bytes) -> None:
        """Keep a module's bytes for every daemon that runs jobs which call it."""
        ...

    async def get_module(self, digest: str) -> bytes | None:
        """Return a module's bytes, or None when the store does not have them. Check them against the digest."""
        ...
