"""The command `wasmq`: its sub-commands, and the one place that turns an exception into a line and an exit status.

Sub-commands are named by import path and imported when they are called, so that each costs only what it needs.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from cyclopts import App, CycloptsError

from wasmq.cli.exits import Exit, exit_for_error
from wasmq.cli.output import complain, discard_output
from wasmq.errors import WasmqError
from wasmq.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_DEBUG = "--debug"  # before or after the command's name; taken out before the command sees its arguments


app = App(
    name="wasmq",
    help="Run untrusted WebAssembly: isolated, metered to the instruction, pre-empted by fuel.",
    help_epilogue=f"With {_DEBUG} an error comes with its traceback.",
    version=f"wasmq {__version__}",
    version_flags="--version",
    result_action="return_value",
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
)
# Written here and not as docstrings, which could only be read by importing every command for `wasmq --help`.
_COMMANDS = {
    "run": """Run one job here and now and print its value, or, without an export, run a WASI program.

    A program's arguments follow "--"; it reads this command's standard input, and its output and exit status are this
    command's own. Else the exit status is 0 when it succeeded, 134 when it trapped, 124 timed out, 137 out of
    memory, 152 out of fuel, 130 cancelled; 2 for a wrong call, 65 for an invalid module, 66 for a file that cannot be
    read, 77 refused.""",
    "inspect": "Show a module's kind, digest, size and memories, and its exports and imports with their types.",
    "serve": """Run the daemon until SIGTERM or Ctrl-C.

    The first signal drains it: nothing new starts, running jobs get the grace period, and the exit status is 0. The
    second one ends it at once.""",
    "bench": """Measure this machine: latency when idle, throughput of map and of 1000 concurrent callers.

    The job is a product of two integers, so what is measured is the price of being a job. Each of the three
    measurements ends after 3 seconds, or sooner when it has run all its jobs.""",
    "doctor": """Examine the engine, the sandbox, the machine, files and the store; change nothing.

    The exit status is 0 when nothing failed, 1 when something did; with --strict a warning counts too.""",
    "config": "Check the configuration (the file, then WASMQ_* variables); with --show print it as TOML.",
}
# The verbs that talk to a daemon, by the file that they are in.
_REMOTE: dict[str, str | dict[str, str]] = {
    "submit": """Queue a job at a daemon, and print its id; with --wait wait for it as run does.

    FILE is brought to the daemon first; a digest names a module that it has already. A program's arguments follow
    "--".""",
    "jobs": {
        "status": "Show what is known of a job.",
        "wait": """Wait for a job, and print its value or what it wrote.

        The exit status is the job's own, as with run; 75 when it had not finished in time.""",
        "cancel": "Cancel jobs, waiting or running.",
        "jobs": "List jobs, newest first.",
        "refuel": "Let a job that runs, or is suspended, spend more fuel, and print what it may spend in all.",
        "requeue": "Queue the call of a lost job again, as a new job, and print that one's id.",
    },
    "replay": """Run a finished job again, and say whether status, result and fuel agree to the unit.

    The daemon runs it, as a job of the same tenant; with --engine it is run here instead, by that engine. The exit
    status is 0 when they agree and 1 when they do not; what differs is printed, a line for each difference.""",
    "estimate": """Suggest a fuel cap for a call, by what the last such calls of a daemon have used.

    The cap is the 99th percentile of their fuel, half as much again.""",
    "modules": "List the modules that a daemon has loaded, or bring it some.",
    "tenants": "List the tenants, their shares and accounts, or show, set or credit one.",
    "top": """Watch a daemon at work: jobs by state, rates, tenants, fuel, workers.

    On a terminal until Ctrl-C; else, or with --once, once.""",
    "token": """Make a token for a tenant of a daemon, and print it with the line that the configuration wants.

    The token itself is kept nowhere: only who has it can show it.""",
}
for _name, _help in _COMMANDS.items():
    app.command(f"wasmq.cli.{_name}:{_name}", name=_name, help=_help)
for _file, _verbs in _REMOTE.items():
    for _name, _help in ({_file: _verbs} if isinstance(_verbs, str) else _verbs).items():
        app.command(f"wasmq.cli.{_file}:{_name}", name=_name, help=_help)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv` (without the program's name; None is the process' own) and return its exit status.

    An error is one line on stderr; a bug too, unless `--debug` asks for its traceback.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    end = words.index("--") if "--" in words else len(words)
    debug = _DEBUG in words[:end]
    words = [word for index, word in enumerate(words) if word != _DEBUG or index > end]
    try:
        status: int | None = app(_spelled_out(words))
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


def _spelled_out(words: list[str]) -> list[str]:
    """Return the words of `wasmq run FILE -- ARG…`, or `submit`, with each argument as the option it is short for."""
    if words[:1] not in (["run"], ["submit"]) or "--" not in words:
        return words
    end = words.index("--")
    return words[:end] + [f"--argv={word}" for word in words[end + 1 :]]


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
