"""What the commands that talk to a daemon have in common."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from cyclopts import Parameter

from wasmq.cli.options import Json, ModuleFile
from wasmq.cli.output import clean, print_line
from wasmq.cli.run import report
from wasmq.client import Client

if TYPE_CHECKING:
    from wasmq.remote import RemoteJob

__all__ = [
    "DEFAULT_URL",
    "Json",
    "ModuleFile",
    "Token",
    "Url",
    "connect",
    "job_report",
    "print_job",
    "state_of",
    "when",
]

DEFAULT_URL = "http://127.0.0.1:8787"
Url: TypeAlias = Annotated[str, Parameter(name="--url", env_var="WASMQ_URL", help="Where the daemon is.")]
Token: TypeAlias = Annotated[
    str | None,
    Parameter(name="--token", env_var="WASMQ_TOKEN", help="The token that says whose jobs they are."),
]


def connect(url: str, token: str | None, *, retry_for: float = 0.0) -> Client:
    """Return a client for a command: it gives up at once, unless the command is there to wait."""
    return Client(url, token=token, retry_for=retry_for)


def job_report(job: RemoteJob) -> dict[str, Any]:
    """Return a job as JSON has it: as over HTTP."""
    return {
        "id": job.id,
        "state": job.state,
        "module": job.module,
        "export": job.export,
        "tenant": job.tenant,
        "attempts": job.attempts,
        "submitted_at": when(job),
        "deadline": None if job.deadline is None else _shown(job.deadline),
        "outcome": None if job.outcome is None else report(job.outcome),
        **({"suspended": job.suspended} if job.state == "running" else {}),
        **({} if job.fuel_spent is None else {"fuel_spent": job.fuel_spent}),
    }


def when(job: RemoteJob) -> str:
    """Return when a job was submitted."""
    return _shown(job.submitted_at)


def _shown(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="milliseconds")


def state_of(job: RemoteJob) -> str:
    """Return how a job stands, in one word: its state, or how it ended."""
    if job.outcome is not None:
        return job.outcome.status
    return "suspended" if job.suspended else job.state


def print_job(job: RemoteJob) -> None:
    """Write what is known of a job, a line for each fact."""
    facts: list[tuple[str, object]] = [
        ("id", job.id),
        ("state", state_of(job)),
        ("module", job.module),
        ("export", job.export),
        ("tenant", job.tenant),
        ("attempts", job.attempts),
        ("submitted", when(job)),
    ]
    if job.deadline is not None:
        facts.append(("deadline", _shown(job.deadline)))
    if job.fuel_spent is not None:
        facts.append(("fuel", f"{job.fuel_spent} by now"))
    if (outcome := job.outcome) is not None:
        facts += [
            ("fuel", outcome.fuel_used),
            ("memory", outcome.memory_peak),
            ("queued", f"{outcome.queued:.6f} s"),
            ("ran", f"{outcome.ran:.6f} s"),
        ]
        if outcome.reused is not None:
            facts.append(("reused", f"{outcome.reused}, {outcome.fuel_saved} fuel saved"))
        if outcome.receipt is not None:
            facts.append(("receipt", outcome.receipt.digest))
        if outcome.exit_code is not None:
            facts.append(("exit code", outcome.exit_code))
        if outcome.error is not None:
            facts.append(("error", outcome.error))
    for name, value in facts:
        print_line(f"{name:11}{clean(str(value))}")
