"""`wasmq status`, `wait`, `cancel`, `jobs`, `requeue`, `refuel`: jobs of a daemon."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import anyio
from cyclopts import Parameter

from wasmq.cli.exits import Exit, exit_for_outcome
from wasmq.cli.output import complain, print_json, print_line, print_table, spin
from wasmq.cli.remote import DEFAULT_URL, Json, Token, Url, connect, job_report, print_job, state_of, when
from wasmq.cli.run import print_outcome
from wasmq.events import JobFinished, JobOutput
from wasmq.units import format_size

if TYPE_CHECKING:
    from wasmq.client import Client
    from wasmq.remote import RemoteJob

__all__ = ["cancel", "jobs", "refuel", "requeue", "show_end", "status", "wait"]

_PATIENCE = 30.0  # seconds that a daemon may be away while somebody waits for a job
_Id = Annotated[str, Parameter(help="The job's id.")]


def status(job: _Id, /, *, url: Url = DEFAULT_URL, token: Token = None, json: Json = False) -> int:
    """Show what is known of a job."""

    async def ask() -> RemoteJob:
        async with connect(url, token) as client:
            return await client.job(job)

    found = anyio.run(ask)
    if json:
        print_json(job_report(found))
    else:
        print_job(found)
    return Exit.SUCCEEDED


def wait(
    job: _Id,
    /,
    *,
    timeout: Annotated[float | None, Parameter(help="Seconds to wait at most.")] = None,
    follow: Annotated[
        bool, Parameter(negative=(), show_default=False, help="Write the job's output while it comes.")
    ] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
    json: Json = False,
) -> int:
    """Wait for a job and print its value, or what it wrote; returns the exit status that belongs to its outcome."""

    async def ask() -> RemoteJob:
        async with connect(url, token, retry_for=_PATIENCE) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(spin, f"waiting for {job}")
            if follow:
                with anyio.move_on_after(timeout):
                    await _follow(client, job)
            found = await client.wait(job, 0.0 if follow else timeout)
            tasks.cancel_scope.cancel()
        return found

    return show_end(anyio.run(ask), json=json, followed=follow)


def show_end(job: RemoteJob, *, json: bool, followed: bool = False) -> int:
    """Write how a job ended, or that it has not; returns the exit status."""
    outcome = job.outcome
    if json:
        print_json(job_report(job))
    elif outcome is not None:
        print_outcome(outcome, printed=followed)
    if outcome is None:
        complain(f"job {job.id} is still {state_of(job)}")
        return Exit.UNFINISHED
    if outcome.status != "succeeded" and not outcome.exit_code:
        complain(f"{outcome.error or outcome.status.replace('_', ' ')} (job {job.id})")
    return exit_for_outcome(outcome)


async def _follow(client: Client, job: str) -> None:
    """Write a job's output to the stream that it wrote it to, until it has ended."""
    async for event in client.events(job):
        match event:
            case JobOutput():
                stream = sys.stdout if event.stream == "stdout" else sys.stderr
                stream.buffer.write(event.data)
                stream.flush()
            case JobFinished():
                return


def cancel(
    *ids: Annotated[str, Parameter(help="The jobs' ids.")],
    url: Url = DEFAULT_URL,
    token: Token = None,
    json: Json = False,
) -> int:
    """Cancel jobs; one that has finished stays as it is, which is said."""

    async def ask() -> dict[str, bool]:
        async with connect(url, token) as client:
            return {job: await client.cancel(job) for job in ids}

    found = anyio.run(ask)
    if json:
        print_json([{"id": job, "cancelled": cancelled} for job, cancelled in found.items()])
    else:
        for job, cancelled in found.items():
            if not cancelled:
                complain(f"job {job} had finished already")
    return Exit.SUCCEEDED


def requeue(
    *ids: Annotated[str, Parameter(help="The lost jobs' ids.")],
    url: Url = DEFAULT_URL,
    token: Token = None,
    json: Json = False,
) -> int:
    """Queue the calls of lost jobs again, as new jobs."""

    async def ask() -> dict[str, str]:
        async with connect(url, token) as client:
            return {job: (await client.requeue(job)).id for job in ids}

    found = anyio.run(ask)
    if json:
        print_json([{"id": new, "was": job} for job, new in found.items()])
    else:
        for new in found.values():
            print_line(new)
    return Exit.SUCCEEDED


def refuel(
    job: _Id,
    fuel: Annotated[int, Parameter(help="Fuel that it may spend besides what it may now.")],
    /,
    *,
    url: Url = DEFAULT_URL,
    token: Token = None,
    json: Json = False,
) -> int:
    """Let a job that runs, or is suspended, spend more fuel; prints what it may spend in all."""

    async def ask() -> int:
        async with connect(url, token) as client:
            return await client.refuel(job, fuel)

    total = anyio.run(ask)
    if json:
        print_json({"id": job, "fuel": total})
    else:
        print_line(str(total))
    return Exit.SUCCEEDED


_STATUS = Literal[
    "queued",
    "running",
    "finished",
    "succeeded",
    "trapped",
    "out_of_fuel",
    "out_of_memory",
    "timed_out",
    "exited",
    "cancelled",
    "lost",
]


def jobs(
    *,
    tenant: Annotated[str | None, Parameter(help="Only this tenant's.")] = None,
    status: Annotated[_STATUS | None, Parameter(help="Only those in this state, or that ended so.")] = None,
    limit: Annotated[int, Parameter(help="As many at most.")] = 20,
    url: Url = DEFAULT_URL,
    token: Token = None,
    json: Json = False,
) -> int:
    """List jobs, newest first."""

    async def ask() -> list[RemoteJob]:
        async with connect(url, token) as client:
            return await client.jobs(tenant=tenant, status=status, limit=limit)

    found = anyio.run(ask)
    if json:
        print_json([job_report(job) for job in found])
    else:
        columns = ("id", "state", "tenant", "export", "fuel", "memory", "submitted")
        print_table("", columns, [_row(job) for job in found])
    return Exit.SUCCEEDED


def _row(job: RemoteJob) -> tuple[str, ...]:
    outcome = job.outcome
    spent = "" if job.fuel_spent is None else str(job.fuel_spent)
    fuel, memory = (spent, "") if outcome is None else (str(outcome.fuel_used), format_size(outcome.memory_peak))
    return job.id, state_of(job), job.tenant, job.export, fuel, memory, when(job)
