"""Fuel accounts: reserve, settle, refund. Pure and synchronous, whole units of fuel, time as an argument.

An account is a token bucket (Turner 1986) for fuel. A job's cap is reserved when it starts; when it ends the exact
amount is spent and the rest is free again. So at every moment granted = spent + reserved + free, and no job that was
let start can overdraw the account. A second bucket, the pace, holds to a rate of fuel per second: what a job is
expected to use is taken when it starts and corrected by what it used, so this one may go into debt, and nothing starts
while it is.

Time is seconds on a wall clock that may step. A step back refills nothing, and what comes after is counted from there.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wasmq.job import Job

MOST: Final = 2**63 - 1
"""The largest amount of fuel or bytes that an account can hold: what a database's integers hold."""
LOOK_AGAIN: Final = 10.0
"""Seconds after which a tenant that has to wait is looked at again: by then another job or other terms may count."""
_SECOND: Final = 1_000_000  # instants, which are microseconds: as fine as a float of seconds since 1970 is


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant's account allows; None is no bound.

    `budget` and `burst` are in fuel, `period` in microseconds (None: prepaid), `rate` in fuel per second, `memory` in
    bytes. `refuses` says that a job which cannot start now is not even queued.
    """

    budget: int | None = None
    period: int | None = None
    burst: int = 0
    rate: int | None = None
    max_running: int | None = None
    memory: int | None = None
    refuses: bool = False


class Hold(msgspec.Struct, frozen=True, gc=False):
    """What a running job holds of its tenant's account: fuel, bytes, and fuel taken from the pace.

    `fuel` is 0 when the account had no budget at its start: then no fuel is spent from it at the end either.
    """

    fuel: int
    memory: int
    pace: int


class Wait(msgspec.Struct, frozen=True, gc=False):
    """Why a job cannot start, and until when: in seconds, infinity if time alone does not help."""

    until: float
    why: str


Decision: TypeAlias = Hold | Wait | None
"""Whether a job may start: holding this much, not yet, or without an account."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's account as it is now.

    `granted`, `spent`, `reserved` and `free` are in fuel, and granted = spent + reserved + free; without a budget they
    are 0 and `free` is None. `running` counts jobs, `memory` is the sum of their caps in bytes. `next_at` is when the
    job can start that waits for the account, in seconds since 1970: None when none waits, or when only the end of
    another job or a credit can help.
    """

    granted: int
    spent: int
    reserved: int
    free: int | None
    running: int
    memory: int
    next_at: float | None


class Balance(msgspec.Struct, gc=False):
    """The figures of one account, as they are stored: see `Account`.

    `refilled_at` is the instant up to which the budget has been counted, None before it was opened; `fraction` is what
    of a unit of fuel had accrued by then, in units divided by the period. `paced_at` and `pace_fraction` are the same
    for the rate, `pace` is its level in fuel, negative when it is in debt.
    """

    granted: int = 0
    spent: int = 0
    reserved: int = 0
    running: int = 0
    memory: int = 0
    refilled_at: int | None = None
    fraction: int = 0
    pace: int = 0
    paced_at: int | None = None
    pace_fraction: int = 0
    held_until: float | None = None
    """Until when the tenant's next job waits for the account, in seconds; None when none is known to."""

    @property
    def free(self) -> int:
        """Fuel that is neither spent nor reserved."""
        return self.granted - self.spent - self.reserved


class Ledger:
    """The accounts of a queue. `terms` are those of the tenants that have an account; they may change at any time.

    What is changed is in `changed`, as it was before, until `keep` or `undo`.
    """

    def __init__(self, terms: Mapping[str, Terms], balances: dict[str, Balance] | None = None) -> None:
        self.terms = terms
        self.balances = {} if balances is None else balances
        self.changed: dict[str, Balance] = {}

    def reserve(self, job: Job, now: float) -> Decision:
        """Reserve what a job may use, and return its hold; or say that it has to wait.

        A wait is noted in `held_until`, but is no change: when it is looked at again nothing is lost.
        """
        terms = self.terms.get(job.tenant)
        if terms is None:
            return None
        tenant = job.tenant
        before = self._known(tenant)
        # What has changed in this batch already may change further, the rest only if the job starts.
        balance = before if tenant in self.changed else msgspec.structs.replace(before)
        _refill(balance, terms, _instant(now))
        wait = _obstacle(balance, terms, job.fuel, job.caps.memory)
        if wait is not None:
            before.held_until = wait.until
            return wait
        if balance is not before:
            self.changed[tenant] = before
            self.balances[tenant] = balance
        hold = Hold(
            0 if terms.budget is None else job.fuel,
            job.caps.memory,
            0 if terms.rate is None else min(int(job.cost), job.fuel),
        )
        balance.reserved += hold.fuel
        balance.memory += hold.memory
        balance.running += 1
        balance.pace = max(-MOST, balance.pace - hold.pace)
        balance.held_until = None
        return hold

    def raise_cap(self, tenant: str, hold: Hold, fuel: int, now: float) -> Hold | Wait:
        """Reserve `fuel` more for a running job, and return what it holds then."""
        if not hold.fuel:
            return hold
        terms = self.terms.get(tenant)
        balance = self._touch(tenant)
        if terms is not None:
            _refill(balance, terms, _instant(now))
            wait = _short(balance, terms, fuel)
            if wait is not None:
                return wait
        balance.reserved += fuel
        return msgspec.structs.replace(hold, fuel=hold.fuel + fuel)

    def settle(self, tenant: str, hold: Hold, used: int) -> None:
        """Give back what a job held that has ended, or will start again, and spend the fuel that it used."""
        balance = self._touch(tenant)
        balance.running -= 1
        balance.memory -= hold.memory
        balance.reserved -= hold.fuel
        if hold.fuel:
            balance.spent += used
        terms = self.terms.get(tenant)
        if terms is not None and terms.rate is not None:
            balance.pace = max(-MOST, balance.pace + hold.pace - used)
        balance.held_until = None

    def credit(self, tenant: str, fuel: int, now: float) -> bool:
        """Grant fuel beside what the budget grants; False when the account cannot hold so much."""
        terms = self.terms.get(tenant)
        balance = self._touch(tenant)
        if terms is not None:
            _refill(balance, terms, _instant(now))
        if balance.granted + fuel > MOST:
            return False
        balance.granted += fuel
        balance.held_until = None
        return True

    def keep(self) -> None:
        """Let the changes stand."""
        self.changed = {}

    def undo(self) -> None:
        """Put every account back as it was when `keep` was called last."""
        self.balances.update(self.changed)
        self.changed = {}

    def _touch(self, tenant: str) -> Balance:
        """Return an account to be changed."""
        balance = self._known(tenant)
        if tenant not in self.changed:
            self.changed[tenant] = balance
            balance = self.balances[tenant] = msgspec.structs.replace(balance)
        return balance

    def _known(self, tenant: str) -> Balance:
        balance = self.balances.get(tenant)
        if balance is None:
            balance = self.balances[tenant] = Balance()
        return balance


def account_of(balance: Balance, terms: Terms, now: float) -> Account:
    """Return how an account stands now; one that is not there yet as it would be opened."""
    balance = _as_of(balance, terms, now)
    until = balance.held_until
    return Account(
        granted=balance.granted,
        spent=balance.spent,
        reserved=balance.reserved,
        free=None if terms.budget is None else balance.free,
        running=balance.running,
        memory=balance.memory,
        next_at=None if until is None or until == math.inf else until,
    )


def cannot_pay(balance: Balance, terms: Terms, fuel: int, now: float) -> Wait | None:
    """Return why jobs that may use `fuel` together cannot be paid for now; None when they can be."""
    balance = _as_of(balance, terms, now)
    waits = [wait for wait in (_short(balance, terms, fuel), _overdrawn(balance, terms)) if wait is not None]
    return max(waits, key=_until, default=None)


def most_held(balance: Balance, terms: Terms, now: float) -> int | None:
    """Return the most fuel that an account comes to hold without a credit; None when there is no telling."""
    if terms.budget is None or terms.period is None:
        return None
    balance = _as_of(balance, terms, now)
    return max(terms.burst, balance.granted - balance.spent)


def _as_of(balance: Balance, terms: Terms, now: float) -> Balance:
    balance = msgspec.structs.replace(balance)
    _refill(balance, terms, _instant(now))
    return balance


def _until(wait: Wait) -> float:
    return wait.until


def _instant(now: float) -> int:
    return round(now * _SECOND)


def _seconds(instant: int) -> float:
    """Return the first moment that is not before an instant."""
    seconds = instant / _SECOND
    return seconds if _instant(seconds) >= instant else math.nextafter(seconds, math.inf)


def _refill(balance: Balance, terms: Terms, at: int) -> None:
    """Grant what has accrued by the instant `at`, to the fuel and to the pace."""
    if terms.budget is not None:
        _refill_budget(balance, terms, terms.budget, at)
    if terms.rate is not None:
        _refill_pace(balance, terms.rate, at)


def _refill_budget(balance: Balance, terms: Terms, budget: int, at: int) -> None:
    since, balance.refilled_at = balance.refilled_at, at
    period = terms.period
    if since is None:
        balance.granted += min(budget if period is None else terms.burst, MOST - balance.granted)
        return
    room = min(terms.burst - (balance.granted - balance.spent), MOST - balance.granted)
    if period is None or room <= 0:
        balance.fraction = 0
        return
    if at < since:
        return
    whole, balance.fraction = divmod((at - since) * budget + min(balance.fraction, period - 1), period)
    if whole >= room:
        whole, balance.fraction = room, 0
    balance.granted += whole


def _refill_pace(balance: Balance, rate: int, at: int) -> None:
    """Raise the pace to one second's worth at most."""
    since, balance.paced_at = balance.paced_at, at
    if since is None:
        balance.pace = rate
    elif at >= since:
        whole, balance.pace_fraction = divmod((at - since) * rate + balance.pace_fraction, _SECOND)
        balance.pace += whole
    if balance.pace >= rate:
        balance.pace, balance.pace_fraction = rate, 0


def _obstacle(balance: Balance, terms: Terms, fuel: int, memory: int) -> Wait | None:
    """Return what keeps a job from starting, of several things the last to go."""
    if terms.max_running is not None and balance.running >= terms.max_running:
        return Wait(math.inf, f"{balance.running} of its jobs run, of {terms.max_running} that may")
    if terms.memory is not None and balance.memory + memory > terms.memory:
        return Wait(math.inf, f"its running jobs may use {balance.memory} bytes already, of {terms.memory}")
    waits = [wait for wait in (_short(balance, terms, fuel), _overdrawn(balance, terms)) if wait is not None]
    return max(waits, key=_until, default=None)


def _short(balance: Balance, terms: Terms, fuel: int) -> Wait | None:
    """Return until when the account lacks fuel, counted as of its last refill; None when it has it."""
    lacking = fuel - balance.free
    if terms.budget is None or lacking <= 0:
        return None
    why = f"its account has {max(0, balance.free)} fuel free, of {fuel} that would be reserved"
    holds = max(terms.burst, balance.granted - balance.spent)
    if terms.period is None or balance.refilled_at is None or fuel > holds - balance.reserved:
        return Wait(math.inf, why)
    return Wait(_seconds(balance.refilled_at - (balance.fraction - lacking * terms.period) // terms.budget), why)


def _overdrawn(balance: Balance, terms: Terms) -> Wait | None:
    """Return until when the pace is in debt, counted as of its last refill; None when it is not."""
    if terms.rate is None or balance.paced_at is None or balance.pace >= 0:
        return None
    after = -((balance.pace_fraction + balance.pace * _SECOND) // terms.rate)
    return Wait(_seconds(balance.paced_at + after), f"it has used more than its {terms.rate} fuel per second")
