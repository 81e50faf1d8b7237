"""Do the books balance? Compares accounts with the jobs that they were charged for. Pure, but for reading a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wasmq.errors import WasmqError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from wasmq.ledger import Balance, Terms
    from wasmq.store import JobRecord, Store

_PAGE: Final = 1_000  # jobs read at once


class BooksUnbalanced(WasmqError):
    """Raised when accounts do not agree with the jobs that they were charged for: a defect of this program."""


def reconcile(
    balances: Mapping[str, Balance],
    records: Iterable[JobRecord],
    terms: Mapping[str, Terms],
    *,
    whole: bool = True,
) -> None:
    """Raise `BooksUnbalanced`, naming every difference, unless accounts and jobs agree.

    For each account: nothing is negative; what is reserved, runs and is taken of memory is what the running jobs may
    use; what is spent is what the recorded outcomes used. `records` are all jobs there are, `whole` says that none has
    left the history; the terms must have been these since the first job.
    """
    wanted = {tenant: [0, 0, 0, 0] for tenant in {*balances, *terms}}
    for record in records:
        tenant = record.job.tenant
        if tenant not in wanted or tenant not in terms:
            continue
        paid = terms[tenant].budget is not None
        sums = wanted[tenant]
        if record.outcome is not None:
            sums[0] += record.outcome.fuel_used if paid else 0
        elif record.state == "running":
            sums[1] += record.job.fuel if paid else 0
            sums[2] += 1
            sums[3] += record.job.caps.memory
    problems = []
    for tenant, (spent, reserved, running, memory) in wanted.items():
        balance = balances.get(tenant)
        if balance is None:
            figures = (0, 0, 0, 0)
        else:
            figures = (balance.spent, balance.reserved, balance.running, balance.memory)
            if min(balance.free, *figures) < 0:
                problems.append(
                    f"{tenant}: a negative amount: granted {balance.granted}, spent {balance.spent}, "
                    f"reserved {balance.reserved}, free {balance.free}"
                )
        if not whole and figures[0] > spent:
            spent = figures[0]
        names = ("spent", "reserved", "running", "memory")
        for name, is_so, should in zip(names, figures, (spent, reserved, running, memory), strict=True):
            if is_so != should:
                problems.append(f"{tenant}: {name} is {is_so}, its jobs say {should}")
    if problems:
        raise BooksUnbalanced("; ".join(problems))


async def reconcile_store(store: Store, terms: Mapping[str, Terms], *, whole: bool = True) -> None:
    """Do the same with all accounts and jobs of a store that nobody changes meanwhile."""
    records: list[JobRecord] = []
    while page := await store.list(
        tenant=None, status=None, after=records[-1].job.id if records else None, limit=_PAGE
    ):
        records += page
    reconcile({tenant: await store.balance(tenant) for tenant in terms}, records, terms, whole=whole)
