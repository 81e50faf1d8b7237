"""`wasmq top`: a daemon at work, from its metrics and its jobs."""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import anyio
from cyclopts import Parameter

from wasmq.cli.exits import Exit, UsageError
from wasmq.cli.output import clean, print_json, print_line
from wasmq.cli.remote import DEFAULT_URL, Json, Token, Url, connect
from wasmq.errors import Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from wasmq.client import Client
    from wasmq.remote import RemoteJob

__all__ = ["Sample", "read_metrics", "top"]

_SHOWN = 12  # tenants, and running jobs
_LINE = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Sample(NamedTuple):
    """What a daemon says of itself at one moment: `at` in seconds, numbers by metric and labels, jobs that run."""

    at: float
    values: dict[tuple[str, tuple[tuple[str, str], ...]], float]
    running: list[RemoteJob]

    def value(self, name: str, **labels: str) -> float:
        """Return a number, 0 when it is not there."""
        return self.values.get((name, tuple(sorted(labels.items()))), 0.0)

    def total(self, name: str) -> float:
        """Return the sum of a metric over all its labels."""
        return sum(value for (found, _), value in self.values.items() if found == name)

    def by(self, name: str, label: str) -> dict[str, float]:
        """Return the sums of a metric by one of its labels."""
        sums: dict[str, float] = {}
        for (found, labels), value in self.values.items():
            if found == name:
                key = dict(labels).get(label, "")
                sums[key] = sums.get(key, 0.0) + value
        return sums


def read_metrics(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return the numbers in Prometheus' text format by metric and labels; what is no number is left out."""
    found = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None or line.startswith("#"):
            continue
        labels = tuple(sorted(_LABEL.findall(match["labels"] or "")))
        try:
            found[match["name"], labels] = float(match["value"])
        except ValueError:
            continue
    return found


def top(
    *,
    interval: Annotated[float, Parameter(help="Seconds between two looks.")] = 1.0,
    once: Annotated[bool, Parameter(negative=(), show_default=False, help="Look once, and write it as text.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
    json: Json = False,
) -> int:
    """Watch a daemon at work until Ctrl-C; once where stdout is no terminal."""
    if not 0.1 <= interval <= 3600:
        raise UsageError(f"--interval {interval:g}: wants 0.1 to 3600 seconds")
    live = sys.stdout.isatty() and not once and not json
    anyio.run(_watch if live else _look_once, url, token, interval, json)
    return Exit.SUCCEEDED


async def _look(client: Client) -> Sample:
    metrics = await client.metrics()
    return Sample(time.monotonic(), read_metrics(metrics), await client.jobs(status="running", limit=_SHOWN))


async def _look_once(url: str, token: str | None, interval: float, json: bool) -> None:
    async with connect(url, token) as client:
        before = await _look(client)
        await anyio.sleep(interval)
        facts = summary(before, await _look(client))
    if json:
        print_json(facts)
        return
    for name, value in facts.items():
        if not isinstance(value, (dict, list)):
            print_line(f"{name:24}{_figure(value)}")
    for name, tenant in facts["tenants"].items():
        figures = "  ".join(f"{key} {_figure(value)}" for key, value in tenant.items())
        print_line(f"{'tenant ' + clean(name):24}{figures}")


async def _watch(url: str, token: str | None, interval: float, _json: bool) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console()
    async with connect(url, token) as client:
        before = await _look(client)
        with Live(_screen(url, summary(before, before)), console=console, screen=True, auto_refresh=False) as live:
            while True:
                await anyio.sleep(interval)
                try:
                    sample = await _look(client)
                except Unreachable as error:
                    live.update(_note(clean(str(error))), refresh=True)
                    continue
                live.update(_screen(url, summary(before, sample)), refresh=True)
                before = sample


def summary(before: Sample, now: Sample) -> dict[str, Any]:
    """Return what two looks at a daemon say of it: numbers as they are now, and rates per second between the two."""
    seconds = max(now.at - before.at, 1e-9)

    def rate(measure: Callable[[Sample], float]) -> float:
        # A daemon that was started anew counts from zero.
        return max(0.0, measure(now) - measure(before)) / seconds

    states = now.by("wasmq_jobs", "state")
    tenants = {}
    fuel, done = now.by("wasmq_fuel_consumed_total", "tenant"), now.by("wasmq_jobs_finished_total", "tenant")
    fuel_before = before.by("wasmq_fuel_consumed_total", "tenant")
    done_before = before.by("wasmq_jobs_finished_total", "tenant")
    for name in fuel.keys() | done.keys():
        tenants[name] = {
            "jobs_per_second": max(0.0, done.get(name, 0.0) - done_before.get(name, 0.0)) / seconds,
            "fuel_per_second": max(0.0, fuel.get(name, 0.0) - fuel_before.get(name, 0.0)) / seconds,
            "finished": done.get(name, 0.0),
        }
    busiest = sorted(tenants, key=lambda name: (-tenants[name]["fuel_per_second"], -tenants[name]["finished"], name))
    return {
        "queued": states.get("queued", 0.0),
        "running": states.get("running", 0.0),
        "oldest_ready_seconds": now.value("wasmq_oldest_ready_job_age_seconds"),
        "submitted_per_second": rate(lambda sample: sample.total("wasmq_jobs_submitted_total")),
        "finished_per_second": rate(lambda sample: sample.total("wasmq_jobs_finished_total")),
        "failed_per_second": rate(_failed),
        "refused_per_second": rate(lambda sample: sample.total("wasmq_rejected_total")),
        "fuel_per_second": rate(lambda sample: sample.total("wasmq_fuel_consumed_total")),
        "workers": now.total("wasmq_workers"),
        "worker_restarts": now.total("wasmq_worker_restarts_total"),
        "tenants": {name: tenants[name] for name in busiest[:_SHOWN]},
        "running_jobs": [
            {"id": job.id, "tenant": job.tenant, "export": job.export, "attempts": job.attempts} for job in now.running
        ],
    }


def _failed(sample: Sample) -> float:
    by_status = sample.by("wasmq_jobs_finished_total", "status")
    return sum(by_status.values()) - by_status.get("succeeded", 0.0)


def _figure(value: float) -> str:
    """Return a number with a unit of thousands, so that a column stays narrow."""
    for unit in ("", "k", "M", "G", "T"):
        if abs(value) < 1000:
            return f"{value:.3g}{unit}" if value != int(value) else f"{int(value)}{unit}"
        value = round(value / 1000, 2)
    return f"{value:.3g}P"


def _screen(url: str, facts: dict[str, Any]) -> RenderableType:
    from rich.columns import Columns
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    figures = [
        Text.assemble((_figure(value), "bold"), " ", (name.replace("_per_second", "/s").replace("_", " "), "dim"))
        for name, value in facts.items()
        if not isinstance(value, (dict, list))
    ]
    tenants = Table(box=None, title=Text("tenants"), title_justify="left", expand=True)
    for column in ("tenant", "jobs/s", "fuel/s", "finished"):
        tenants.add_column(column, justify="left" if column == "tenant" else "right")
    for name, tenant in facts["tenants"].items():
        tenants.add_row(Text(clean(name)), *[_figure(value) for value in tenant.values()])
    running = Table(box=None, title=Text("running"), title_justify="left", expand=True)
    for column in ("job", "tenant", "export", "attempts"):
        running.add_column(column)
    for job in facts["running_jobs"]:
        running.add_row(*[Text(clean(str(value))) for value in job.values()])
    title = Text.assemble(("wasmq top ", "bold"), (clean(url), "dim"), ("  Ctrl-C ends it", "dim"))
    return Group(title, Text(), Columns(figures, padding=(0, 3)), Text(), tenants, Text(), running)


def _note(text: str) -> RenderableType:
    from rich.text import Text

    return Text(text, style="red")
