"""Accounts in a SQLite file: read when it is opened, and written with each batch that changed them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from wasmq.ledger import Balance, Hold
from wasmq.store.accounts import Credited
from wasmq.store.sqlite.statements import ManyRows

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from wasmq.store.accounts import Accounts

_COLUMNS: Final = (
    *("granted", "spent", "reserved", "running", "memory"),
    *("refilled_at", "fraction", "pace", "paced_at", "pace_fraction"),
)
_READ: Final = f"SELECT tenant, {', '.join(_COLUMNS)} FROM accounts"
_WRITE: Final = (
    f"INSERT INTO accounts (tenant, {', '.join(_COLUMNS)}) VALUES (?{', ?' * len(_COLUMNS)}) "
    f"ON CONFLICT (tenant) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _COLUMNS)}"
)
_HOLDS: Final = "SELECT jobs.id, holds.fuel, holds.memory, holds.pace FROM holds JOIN jobs ON jobs.seq = holds.seq"
_HOLD: Final = ManyRows(
    4,
    "INSERT INTO holds (seq, fuel, memory, pace) SELECT * FROM ({rows}) WHERE column1 IS NOT NULL "
    "ON CONFLICT (seq) DO UPDATE SET fuel = excluded.fuel, memory = excluded.memory, pace = excluded.pace",
)
_CREDITS: Final = "SELECT tenant, key, fuel, credited_at FROM credits ORDER BY credited_at"
_LET_GO: Final = ManyRows(1, "DELETE FROM holds WHERE seq IN ({rows})")


def read_accounts(connection: sqlite3.Connection, accounts: Accounts) -> None:
    """Go on with the accounts that the file has."""
    balances = {tenant: Balance(*figures) for tenant, *figures in connection.execute(_READ)}
    holds = {job_id: Hold(*held) for job_id, *held in connection.execute(_HOLDS)}
    credits = {(tenant, key): Credited(*rest) for tenant, key, *rest in connection.execute(_CREDITS)}  # noqa: A001
    accounts.recover(balances, holds, credits)


def write_accounts(connection: sqlite3.Connection, accounts: Accounts, numbers: Mapping[str, int]) -> None:
    """Write what has changed, inside a transaction; `numbers` are those of the jobs that changed, by id."""
    balances = accounts.ledger.balances
    connection.executemany(_WRITE, [_row(tenant, balances[tenant]) for tenant in accounts.ledger.changed])
    gone = [(numbers[job_id],) for job_id in accounts.changed if job_id not in accounts.holds]
    held = [
        (numbers[job_id], *msgspec.structs.astuple(accounts.holds[job_id]))
        for job_id in accounts.changed
        if job_id in accounts.holds
    ]
    _LET_GO.run(connection, gone)
    _HOLD.run(connection, held)


def write_credits(connection: sqlite3.Connection, accounts: Accounts, before: float) -> None:
    """Write the new credits inside a transaction, and forget the keys of those given earlier than `before`."""
    accounts.forget_credits(before)
    connection.execute("DELETE FROM credits WHERE credited_at < ?", (before,))
    new = [
        (*key, *msgspec.structs.astuple(accounts.credits[key])) for key in accounts.credited if key in accounts.credits
    ]
    connection.executemany("INSERT INTO credits (tenant, key, fuel, credited_at) VALUES (?, ?, ?, ?)", new)


def _row(tenant: str, balance: Balance) -> tuple[object, ...]:
    return (tenant, *[getattr(balance, name) for name in _COLUMNS])
