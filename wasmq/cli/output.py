"""What a command writes: its result to stdout, and one-line errors and progress to stderr.

rich is imported only where it is used: a result of one line does not wait for it.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    Advance: TypeAlias = Callable[[str, int, int], None]
    """Says how far a piece of work is: its name, done, total."""

__all__ = ["clean", "complain", "discard_output", "print_json", "print_line", "print_table", "progress", "spin"]

_PATIENCE = 0.7  # seconds before a spinner shows that something is still going on


def clean(text: str) -> str:
    """Return `text` as one printable line: names come from guests, and a terminal obeys what it is sent."""
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    return " " if character in "\r\n\t" else ascii(character)[1:-1]


def complain(message: str) -> None:
    """Write one line to stderr."""
    line = f"wasmq: {clean(' '.join(message.split()))}\n"
    if sys.stderr is not None:
        sys.stderr.write(line.encode(sys.stderr.encoding, "backslashreplace").decode(sys.stderr.encoding))
        sys.stderr.flush()


def print_line(text: str) -> None:
    """Write one line to stdout."""
    sys.stdout.write(f"{text}\n")


def print_json(value: Any) -> None:
    """Write one line of JSON to stdout; bytes are base64."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table to stdout: framed on a terminal, else plain columns that awk can read."""
    cells = [[clean(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD)
        for column in columns:
            table.add_column(Text(column), overflow="fold")
        for row in cells:
            table.add_row(*(Text(cell) for cell in row))
        Console().print(table)
        return
    widths = [max(len(row[index]) for row in [list(columns), *cells]) for index in range(len(columns))]
    for row in [list(columns), *cells]:
        print_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


async def spin(text: str) -> None:
    """Show `text` beside a spinner on stderr, once it takes long enough to wonder, until cancelled."""
    if not sys.stderr.isatty():
        return
    import anyio

    await anyio.sleep(_PATIENCE)
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(clean(text))):
        await anyio.sleep_forever()


@contextmanager
def progress() -> Iterator[Advance]:
    """Yield a function that shows how far a piece of work is, on stderr when that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda description, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bars: dict[str, Any] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:

        def advance(description: str, done: int, total: int) -> None:
            if description not in bars:
                bars[description] = shown.add_task(description, total=total)
            shown.update(bars[description], completed=done, total=total)

        yield advance


def discard_output() -> None:
    """Send what is still to be written to nowhere, after the reader of stdout has gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
