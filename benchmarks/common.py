"""What the benchmarks share: rows with their targets, medians over rounds, the machine, the command line."""

from __future__ import annotations

import argparse
import math
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from wasmq import Config
from wasmq.config import ModulesConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).parent.parent
GUESTS = ROOT / "workers" / "guests"
RESULTS = Path(__file__).parent / "results"

_DRAWN = 2_000

Kind: TypeAlias = Literal["seconds", "rate", "bytes", "times", "fuel"]
"""What a figure counts. Less is better of seconds and bytes, more of jobs a second and of times; fuel must be equal."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table: what was measured, the figure of each round here and with the peer, and the targets.

    `target` is the most (or least, see `Kind`) that the median of `ours` may be, `target_ratio` how many times better
    than the peer's median it is to be.
    """

    measured: str
    kind: Kind
    ours: list[float]
    peer: list[float] = []
    peer_is: str = ""
    target: float | None = None
    target_ratio: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times better than the peer; below 1 it is worse. None where there is nothing to compare."""
        if not self.peer or self.kind == "fuel":
            return None
        ours, peer = statistics.median(self.ours), statistics.median(self.peer)
        return peer / ours if self.kind in ("seconds", "bytes") else ours / peer

    @property
    def verdict(self) -> Literal["met", "missed", ""]:
        """Whether every target of this row is met; nothing without a target."""
        held = []
        if self.target is not None:
            ours = statistics.median(self.ours)
            held.append(ours <= self.target if self.kind in ("seconds", "bytes") else ours >= self.target)
        if self.target_ratio is not None and self.ratio is not None:
            held.append(self.ratio >= self.target_ratio)
        if self.kind == "fuel":
            held.append(len({*self.ours, *self.peer}) == 1)
        return "" if not held else "met" if all(held) else "missed"


class Machine(msgspec.Struct, frozen=True):
    """Where the figures come from."""

    cores: int
    processor: str
    python: str
    wasmtime: str
    wasmq: str

    def __str__(self) -> str:
        return (
            f"{self.cores} cores ({self.processor}), Python {self.python}, wasmtime {self.wasmtime}, wasmq {self.wasmq}"
        )


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What one benchmark found; `seconds` is how long it took, `notes` say what the figures do not.

    `others` is the share of the machine that went to anything else meanwhile: above a few hundredths, do not trust it.
    """

    name: str
    machine: Machine
    rounds: int
    seconds: float
    others: float
    rows: list[Row]
    notes: list[str]


def machine() -> Machine:
    """Return the machine that this runs on."""
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        processor=_processor(),
        python=platform.python_version(),
        wasmtime=version("wasmtime"),
        wasmq=version("wasmq"),
    )


def main(name: str, measure: Callable[[int], tuple[list[Row], list[str]]], *, rounds: int) -> None:
    """Be the command line of one benchmark: `measure` gets the number of rounds, returns rows and notes."""
    tell(name, measure, arguments(rounds).parse_args())


def arguments(rounds: int) -> argparse.ArgumentParser:
    """Return what every benchmark understands on its command line; `rounds` is the default."""

    def positive(text: str) -> int:
        if (number := int(text)) < 1:
            raise argparse.ArgumentTypeError("must be at least 1")
        return number

    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument(
        "--rounds", type=positive, default=rounds, help="times that everything is measured (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with the figure of every round")
    return parser


def tell(name: str, measure: Callable[[int], tuple[list[Row], list[str]]], options: argparse.Namespace) -> None:
    """Measure as the command line says, and print what was found."""
    start, before, own_before = time.perf_counter(), _spent(), _own()
    rows, notes = measure(options.rounds)
    seconds, spent, own = time.perf_counter() - start, _spent() - before, _own() - own_before
    report = Report(
        name=name,
        machine=machine(),
        rounds=options.rounds,
        seconds=seconds,
        others=max(0.0, spent - own) / (seconds * (os.cpu_count() or 1)),
        rows=rows,
        notes=notes,
    )
    print(msgspec.json.encode(report).decode() if options.json else page([report]))


def page(reports: Sequence[Report]) -> str:
    """Return reports as Markdown: where they come from, one table, and the notes."""
    rows = [row for report in reports for row in report.rows]
    notes = [f"- {note}" for report in reports for note in report.notes]
    others = max(report.others for report in reports)
    return "\n".join([f"{reports[0].machine}; others used {others:.0%} of it meanwhile", "", table(rows), "", *notes])


def table(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table whose columns line up."""
    lines = [("measured", "wasmq", "peer", "better by", "target", "")]
    for row in rows:
        peer = f"{figure(statistics.median(row.peer), row.kind)} ({row.peer_is})" if row.peer else ""
        ratio = "" if row.ratio is None else figure(row.ratio, "times")
        ours = figure(statistics.median(row.ours), row.kind)
        lines.append((row.measured, ours, peer, ratio, _target(row), row.verdict))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rule = tuple("-" * width for width in widths)
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in (lines[0], rule, *lines[1:])
    ]
    return "\n".join(text)


def figure(value: float, kind: Kind) -> str:
    """Return a figure with its unit, as people read it."""
    match kind:
        case "seconds":
            for unit, size in (("µs", 1e-6), ("ms", 1e-3)):
                if value < 999.5 * size:
                    return f"{_digits(value / size)} {unit}"
            return f"{_digits(value)} s"
        case "rate":
            return f"{_digits(value)}/s"
        case "bytes":
            return f"{_digits(value / 1e3)} KB"
        case "times":
            return f"{_digits(value)}×"  # noqa: RUF001 - the sign of multiplication is what is meant
        case "fuel":
            return f"{value:,.0f}".replace(",", " ")


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def spread(ours: Sequence[float], peer: Sequence[float]) -> tuple[float, float]:
    """Return between which two the ratio of ours to the peer's lies: 95 of 100 medians of rounds drawn again.

    The percentile bootstrap (Efron) over pairs: what both were in one round stays together, as they met one machine.
    """
    rng = random.Random(20)
    ratios = [one / other for one, other in zip(ours, peer, strict=True)]
    medians = [statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(_DRAWN)]
    return quantile(medians, 0.025), quantile(medians, 0.975)


def config() -> Config:
    """Return a configuration with a directory of its own for compiled modules, the same for the whole process."""
    return Config(modules=ModulesConfig(directory=_modules.name))


def say(text: str) -> None:
    """Tell whoever waits how far it is."""
    print(text, file=sys.stderr, flush=True)


def workers_of(pid: int) -> set[int]:
    """Return the worker processes of a process."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    children = " ".join((task / "children").read_text(encoding="ascii") for task in tasks).split()
    return {int(child) for child in children if b"wasmq_worker\0" in Path(f"/proc/{child}/cmdline").read_bytes()}


def each_round(name: str, rounds: int) -> Iterator[int]:
    """Count the rounds, and say so."""
    for number in range(rounds):
        say(f"{name}: round {number + 1} of {rounds}")
        yield number


_modules = tempfile.TemporaryDirectory(prefix="wasmq-bench-")


def _target(row: Row) -> str:
    if row.kind == "fuel":
        return "equal"
    sign = "≤" if row.kind in ("seconds", "bytes") else "≥"
    targets = [] if row.target is None else [f"{sign} {figure(row.target, row.kind)}"]
    if row.target_ratio is not None:
        targets.append(f"≥ {figure(row.target_ratio, 'times')} the peer")
    return ", ".join(targets)


def _digits(value: float) -> str:
    """Return a number with three digits that count, a space between thousands, and no zeros after the point."""
    if value == 0:
        return "0"
    rounded = round(value, 2 - math.floor(math.log10(abs(value))))
    return f"{rounded:,.0f}".replace(",", " ") if abs(rounded) >= 100 else f"{rounded:g}"


def _spent() -> float:
    """Return the processor seconds that this machine has spent, those included that another one took from it."""
    user, nice, system, _idle, _waiting, interrupt, soft, stolen = (
        int(ticks) for ticks in Path("/proc/stat").read_text(encoding="utf-8").split()[1:9]
    )
    return (user + nice + system + interrupt + soft + stolen) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    """Return the processor seconds of this process and of its children that have ended."""
    return sum(os.times()[:4])


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
