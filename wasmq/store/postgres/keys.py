"""Idempotency keys in a database that others write to at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmq.store.protocol import check_same
from wasmq.store.records import decode_job

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wasmq.job import Job
    from wasmq.store.postgres.database import Connection


async def settle_keys(connection: Connection, sql: Mapping[str, str], jobs: Sequence[Job]) -> list[Job]:
    """Take the keys of jobs, inside a transaction; returns for each the job that has its key: itself or an earlier one.

    Raises `KeyConflict` when that one is another call.
    """
    first: dict[tuple[str, str], Job] = {}
    for job in jobs:
        if job.key is not None:
            check_same(job, first.setdefault((job.tenant, job.key), job))
    holders = await _holders(connection, sql, first)
    stored = []
    for job in jobs:
        if job.key is None:
            stored.append(job)
            continue
        holder = holders[job.tenant, job.key]
        # An id that is ours already is from a try whose answer was lost.
        holder = first[job.tenant, job.key] if holder.id == first[job.tenant, job.key].id else holder
        check_same(job, holder)
        stored.append(holder)
    return stored


async def _holders(
    connection: Connection, sql: Mapping[str, str], wanted: Mapping[tuple[str, str], Job]
) -> dict[tuple[str, str], Job]:
    """Return the job that holds each key, after having taken those that nobody held."""
    holders: dict[tuple[str, str], Job] = {}
    while rest := {pair: job for pair, job in wanted.items() if pair not in holders}:
        tenants = [tenant for tenant, _ in rest]
        keys = [key for _, key in rest]
        for row in await connection.fetch(sql["take_keys"], tenants, keys, [job.id for job in rest.values()]):
            holders[row["tenant"], row["key"]] = wanted[row["tenant"], row["key"]]
        # One that is not there now either was pruned between the two statements, and its key is free.
        for row in await connection.fetch(sql["key_holders"], tenants, keys):
            pair = row["tenant"], row["key"]
            if pair not in holders:
                holders[pair] = decode_job(
                    row["body"],
                    id=row["id"],
                    tenant=row["tenant"],
                    key=row["key"],
                    attempt=row["attempt"],
                    returned=row["returned"],
                )
    return holders
