"""The command `wasmq`: its sub-commands, and the one place that turns an exception into a line and an exit status.

Sub-commands are named by import path and imported when they are called, so that each costs only what it needs.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

from cyclopts import App, CycloptsError

from wasmq.cli.exits import Exit, exit_for_error
from wasmq.cli.output import complain, discard_output
from wasmq.errors import WasmqError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_DEBUG = "--debug"  # before or after the command's name; taken out before the command sees its arguments


def _version() -> str:
    return f"wasmq {version('wasmq')}"


app = App(
    name="wasmq",
    help="Run untrusted WebAssembly: isolated, metered to the instruction, pre-empted by fuel.",
    help_epilogue=f"With {_DEBUG} an error comes with its traceback.",
    version=_version,
    version_flags="--version",
    result_action="return_value",
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
)
for _name in ("run", "inspect", "serve", "bench", "config"):
    app.command(f"wasmq.cli.{_name}:{_name}", name=_name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv` (without the program's name; None is the process' own) and return its exit status.

    An error is one line on stderr; a bug too, unless `--debug` asks for its traceback.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    end = words.index("--") if "--" in words else len(words)
    debug = _DEBUG in words[:end]
    words = [word for index, word in enumerate(words) if word != _DEBUG or index > end]
    try:
        status: int | None = app(words)
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
        return Exit.BROKEN_PIPE
    except (Exception, KeyboardInterrupt) as raised:
        if debug:
            import traceback

            traceback.print_exception(raised)
        error = _cause(raised)
        complain(_line(error))
        return Exit.USAGE if isinstance(error, CycloptsError) else exit_for_error(error)
    return Exit.SUCCEEDED if status is None else status


def _cause(error: BaseException) -> BaseException:
    """Return what really happened: a task group wraps the error of its one failed task."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _line(error: BaseException) -> str:
    if isinstance(error, CycloptsError):
        command = " ".join(["wasmq", *(error.command_chain or ())])
        return f"{error} (see {command} --help)"
    if isinstance(error, KeyboardInterrupt):
        return "cancelled"
    if not isinstance(error, WasmqError):
        return f"internal error: {type(error).__name__}: {error} (run it again with {_DEBUG} for the traceback)"
    return str(error)
