"""Tenants' accounts as the scheduler sees them: their terms, what is refused for lack of fuel, views and credits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from wasmq.errors import BudgetExhausted, InvalidArguments, LimitTooHigh, NoAccount
from wasmq.ledger import MOST, account_of, cannot_pay, most_held
from wasmq.logs import get_logger
from wasmq.units import format_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wasmq.clock import Clock
    from wasmq.config import Tenant
    from wasmq.job import Job
    from wasmq.ledger import Account, Terms
    from wasmq.store import Store


def check_credit(fuel: int) -> int:
    """Return an amount of fuel that can be granted. Raises `InvalidArguments`."""
    if not isinstance(fuel, int) or isinstance(fuel, bool) or not 0 < fuel <= MOST:
        raise InvalidArguments(f"credit: {fuel!r} is not an amount of fuel: a whole number from 1 to 2**63 - 1 is")
    return fuel


class Budgets:
    """The accounts of the tenants that have terms, in a store that keeps them. `terms` is what the store goes by."""

    def __init__(self, store: Store, clock: Clock, tenants: Mapping[str, Tenant]) -> None:
        self.terms: dict[str, Terms] = {}
        self._store = store
        self._clock = clock
        self._log = get_logger()
        for name, tenant in tenants.items():
            self.set(name, tenant)
        store.keep_accounts(self.terms)

    def set(self, name: str, tenant: Tenant | None) -> None:
        """Take a tenant's terms from now on; what its account holds stays."""
        terms = None if tenant is None else tenant.terms
        if terms is None:
            self.terms.pop(name, None)
        else:
            self.terms[name] = terms

    async def check(self, jobs: Sequence[Job]) -> None:
        """Refuse jobs that their tenants' accounts can never let start or, where an empty account refuses, not now.

        Raises `BudgetExhausted` or `LimitTooHigh`.
        """
        if not self.terms:
            return
        by_tenant: dict[str, list[Job]] = {}
        for job in jobs:
            if job.tenant in self.terms:
                by_tenant.setdefault(job.tenant, []).append(job)
        for tenant, own in by_tenant.items():
            await self._check(tenant, self.terms[tenant], own)

    async def account(self, tenant: str) -> Account:
        """Return how a tenant's account stands. Raises `NoAccount`."""
        terms = self._terms_of(tenant)
        return account_of(await self._store.balance(tenant), terms, self._clock.wall())

    async def credit(self, tenant: str, fuel: int, key: str | None) -> Account:
        """Grant fuel beside the budget, once for a key, and return the account then.

        Raises `NoAccount`, `KeyConflict`, or `InvalidArguments` for an amount that is none, or more than can be held.
        """
        terms = self._terms_of(tenant)
        if terms.budget is None:
            raise NoAccount(f"tenant {tenant!r} has no fuel_budget: it uses what it likes, and a credit adds nothing")
        if not await self._store.credit(tenant, check_credit(fuel), self._clock.wall(), key):
            raise InvalidArguments(f"credit: with {fuel} fuel more tenant {tenant!r} would have above 2**63 - 1")
        self._log.info("account.credited", tenant=tenant, fuel=fuel)
        return await self.account(tenant)

    def known(self) -> dict[str, Account]:
        """Return the accounts of all tenants that have one, as last known here."""
        now = self._clock.wall()
        balances = self._store.balances()
        return {
            tenant: account_of(balances[tenant], terms, now)
            for tenant, terms in self.terms.copy().items()
            if tenant in balances
        }

    def remaining(self) -> dict[str, int]:
        """Return the free fuel of each tenant that has a budget, as last known here. From any thread."""
        return {tenant: account.free for tenant, account in self.known().items() if account.free is not None}

    async def _check(self, tenant: str, terms: Terms, jobs: Sequence[Job]) -> None:
        memory = max(job.caps.memory for job in jobs)
        if terms.memory is not None and memory > terms.memory:
            raise LimitTooHigh(
                f"memory: {format_size(memory)} is above what all jobs of tenant {tenant!r} together may use, "
                f"{format_size(terms.memory)}"
            )
        largest = max(job.caps.fuel for job in jobs)
        if not terms.refuses and (terms.period is None or largest <= terms.burst):
            return
        balance = await self._store.balance(tenant)
        now = self._clock.wall()
        most = most_held(balance, terms, now)
        if most is not None and largest > most:
            raise BudgetExhausted(
                f"tenant {tenant!r}: a fuel cap of {largest} is above the {most} that its account can hold; "
                "give the job a lower cap, or the tenant a higher fuel_burst or a credit"
            )
        wait = cannot_pay(balance, terms, sum(job.caps.fuel for job in jobs), now) if terms.refuses else None
        if wait is not None:
            seconds = wait.until - now
            when = "it takes a credit" if terms.period is None else "it takes the end of other jobs, or a credit"
            if seconds < math.inf:
                when = f"try again in {math.ceil(seconds)} s"
            raise BudgetExhausted(f"tenant {tenant!r}: {wait.why}; {when}", seconds if seconds < math.inf else None)

    def _terms_of(self, tenant: str) -> Terms:
        terms = self.terms.get(tenant)
        if terms is None:
            raise NoAccount(
                f"tenant {tenant!r} has no account: set its fuel_budget, fuel_rate, max_running or memory first"
            )
        return terms
