"""What a worker says of a job's end, turned into the job's outcome. Pure; nothing is believed beyond its limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from wasmq import wit
from wasmq.job import Frame, Outcome, Returned, Status, Trap
from wasmq.types import COMMAND, is_value, printable
from wasmq.wit_values import Ok, read_result

if TYPE_CHECKING:
    from wasmq.job import Job
    from wasmq.types import FunctionType
    from wasmq_worker.protocol import Backtrace, Ended, Printed, Value

# What a worker may say of a job. "lost" is not among it: nobody but the scheduler loses jobs.
_FROM_WORKERS = frozenset(Status.__args__) - {"lost"}  # type: ignore[attr-defined]
_SHOWN_FILES = 4
_NAME = 400  # characters of a function's name
_LINE = 2_000  # characters of what went wrong
_CODE = 40  # characters of a trap's code
_BACKTRACE = 32  # lines of one


def outcome_of(job: Job, ended: Ended, function: FunctionType | wit.Func) -> Outcome:
    """Return the outcome of a job that a worker says has ended; who ran it, where and when is not filled in.

    `function` is the type of what it called. A result that is not of its type makes the job a trapped one.
    """
    if isinstance(function, wit.Func):
        return _component_outcome(job, ended, function)
    if ended.status == "succeeded" and not _fit(ended.values, function.results):
        return _outcome(job, _strange(ended, str(function)))
    return _outcome(job, ended)


def _fit(values: tuple[Value, ...], kinds: tuple[str, ...]) -> bool:
    return len(values) == len(kinds) and all(map(is_value, kinds, values))


def _strange(ended: Ended, wanted: str, why: str = "") -> Ended:
    """Return the end of a job whose worker returned something else than it should have."""
    line = f"trapped: its worker returned something else than {printable(wanted, 80)}{why}"
    return msgspec.structs.replace(ended, status="trapped", values=(), error=line, trap="host", backtrace=())


def _component_outcome(job: Job, ended: Ended, function: wit.Func) -> Outcome:
    plain = msgspec.structs.replace(ended, values=())
    if ended.status != "succeeded" or ended.exit_code is not None:
        return _outcome(job, plain)
    try:
        (packed,) = ended.values
        value = read_result(function.result, packed)  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        return _outcome(job, _strange(plain, str(function.result), f": {error}"))
    outcome = _outcome(job, plain)
    if wit.is_command(job.call.export):
        return _as_command(outcome, isinstance(value, Ok))
    return msgspec.structs.replace(outcome, returned=Returned(function.result, packed))  # type: ignore[arg-type]


def _as_command(outcome: Outcome, good: bool) -> Outcome:
    """Return the outcome of a WASI command, whose result says only whether it went well."""
    if good:
        return msgspec.structs.replace(outcome, exit_code=0)
    changes = {"status": "exited", "exit_code": 1, "error": "exited with code 1"}
    return msgspec.structs.replace(outcome, **changes)


def _outcome(job: Job, ended: Ended) -> Outcome:
    status = ended.status if ended.status in _FROM_WORKERS else "trapped"
    good = status == "succeeded"
    trap = None
    if ended.trap is not None and not good:
        lines = tuple([_frame(line) for line in ended.backtrace[:_BACKTRACE]])
        trap = Trap(code=printable(ended.trap, _CODE), backtrace=lines)
    outcome = Outcome(
        status=status,  # type: ignore[arg-type]
        values=ended.values if good else (),
        fuel_used=min(max(ended.fuel_used, 0), job.fuel),
        memory_peak=ended.memory_peak,
        error=None if good else printable(ended.error or f"{status}, and its worker did not say why", _LINE),
        trap=trap,
        ran=ended.ran,
    )
    if ended.printed is None and job.call.program is None and ended.exit_code is None:
        return outcome
    return _with_program(job, outcome, ended)


def _with_program(job: Job, outcome: Outcome, ended: Ended) -> Outcome:
    """Return the outcome with what a WASI guest left behind."""
    program = job.call.program
    exit_code = ended.exit_code
    if exit_code is None and outcome.status == "succeeded" and job.call.export == COMMAND:
        exit_code = 0
    wanted = program.collect if program is not None else ()
    changes = {"exit_code": exit_code} | _left(ended.printed, job, wanted)
    files = changes.get("files", {})
    absent = [name for name in wanted if not _is_there(name, files)]
    if outcome.status == "succeeded" and absent:
        names = ", ".join([repr(printable(name, 60)) for name in absent[:_SHOWN_FILES]])
        more = f" and {len(absent) - _SHOWN_FILES} more" if len(absent) > _SHOWN_FILES else ""
        changes |= {"status": "exited", "error": f"it ended well, but did not produce the wanted files {names}{more}"}
    return msgspec.structs.replace(outcome, **changes)


def _left(printed: Printed | None, job: Job, wanted: tuple[str, ...]) -> dict[str, object]:
    if printed is None:
        return {}
    cap = job.caps.output
    stdout, stderr = printed.stdout[:cap], printed.stderr[: max(0, cap - len(printed.stdout))]
    files, room = {}, job.caps.files
    for name, content in printed.files.items():
        room -= len(content)
        if room >= 0 and any(_stands_for(pattern, name) for pattern in wanted):
            files[name] = content
    return {
        "stdout": stdout,
        "stderr": stderr,
        "stdout_truncated": printed.stdout_truncated or len(stdout) < len(printed.stdout),
        "stderr_truncated": printed.stderr_truncated or len(stderr) < len(printed.stderr),
        "files": files,
    }


def _stands_for(wanted: str, name: str) -> bool:
    return name == wanted or (wanted.endswith("/") and name.startswith(wanted))


def _is_there(wanted: str, files: object) -> bool:
    """Return whether a file that was asked for came; a directory that is asked for may be empty."""
    return wanted.endswith("/") or wanted in files  # type: ignore[operator]


def _frame(line: Backtrace) -> Frame:
    # Whoever wrote the module chose the name, and backtraces are shown on terminals.
    name = None if line.name is None else printable(line.name, _NAME)
    return Frame(function=line.function, name=name, offset=line.offset)
