"""The pictures: within which time short jobs are answered, and what share of the fuel tenants get."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmarks.common import figure, quantile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_COLOURS = ("#0b6e99", "#b5482a")
_TICKS = {1e-4: "0.1 ms", 1e-3: "1 ms", 1e-2: "10 ms", 1e-1: "0.1 s", 1.0: "1 s", 10.0: "10 s"}
_RIGHT = 0.3  # seconds: a line beyond it has its label on the left
_CLOSE = 10  # times: so has one whose neighbour on the right is nearer
_STEPS = 200  # of a line
_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "path",  # looks the same wherever it is shown
    "svg.hashsalt": "wasmq",
    "font.size": 11,
}


def latencies(path: Path, lines: Mapping[str, Sequence[float]], *, title: str) -> None:
    """Draw each line's cumulative share over a logarithmic axis of seconds, and write it as SVG."""
    with mpl.rc_context(_STYLE):
        sheet = Figure(figsize=(8, 4), layout="constrained")
        axes = sheet.subplots()
        middles = [quantile(seconds, 0.5) for seconds in lines.values()]
        for (name, seconds), colour in zip(lines.items(), _COLOURS, strict=True):
            shares = [(step + 1) / _STEPS for step in range(_STEPS)]
            axes.plot(
                [quantile(seconds, share) for share in shares],
                [100 * share for share in shares],
                color=colour,
                linewidth=2,
            )
            middle = quantile(seconds, 0.5)
            side = -1 if middle > _RIGHT or any(middle < other < middle * _CLOSE for other in middles) else 1
            axes.annotate(
                f"{name}\n99 % within {figure(quantile(seconds, 0.99), 'seconds')}",
                (middle, 50),
                xytext=(12 * side, 0),
                textcoords="offset points",
                color=colour,
                ha="right" if side < 0 else "left",
                va="center",
            )
        axes.set_xscale("log")
        longest = max(max(seconds) for seconds in lines.values())
        axes.set_xlim(min(_TICKS), 3 * min((tick for tick in _TICKS if tick >= longest), default=max(_TICKS)))
        axes.set_ylim(0, 101)
        axes.xaxis.set_major_locator(FixedLocator(list(_TICKS)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _TICKS[value]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} %"))
        axes.set_xlabel("from submission to outcome")
        axes.set_ylabel("short jobs answered")
        axes.set_title(title, loc="left", fontsize=12)
        axes.grid(color="#dddddd", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        path.parent.mkdir(exist_ok=True)
        # Without the date the file changes only when the figures do.
        sheet.savefig(path, metadata={"Date": None})


def shares(path: Path, tenants: Sequence[tuple[float, int, str]], *, title: str) -> None:
    """Draw the fuel by weight of tenants (weight, fuel, kind) relative to those always busy, and write it as SVG."""
    busy = [fuel / weight for weight, fuel, kind in tenants if kind == "busy"]
    mean = sum(busy) / len(busy) or 1.0
    lines = [(f"weight {weight:g}", "busy", weight) for weight in sorted({weight for weight, _, _ in tenants})]
    lines += [("with a budget", "budgeted", None), ("now and then", "occasional", None)]
    with mpl.rc_context(_STYLE):
        sheet = Figure(figsize=(8, 4), layout="constrained")
        axes = sheet.subplots()
        for name, kind, weight in lines:
            values = [fuel / each / mean for each, fuel, of in tenants if of == kind and weight in (None, each)]
            steps = [(step + 1) / _STEPS for step in range(_STEPS)]
            if values:
                drawn = [quantile(values, step) for step in steps]
                axes.plot(drawn, [100 * step for step in steps], label=name, linestyle="-" if weight else "--")
        axes.set_xlim(0, 2)
        axes.set_ylim(0, 101)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} %"))
        axes.set_xlabel("fuel by weight; 1 is the mean of those that always have work waiting")
        axes.set_ylabel("tenants with at most that")
        axes.set_title(title, loc="left", fontsize=12)
        axes.legend(frameon=False)
        axes.grid(color="#dddddd", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        path.parent.mkdir(exist_ok=True)
        sheet.savefig(path, metadata={"Date": None})
