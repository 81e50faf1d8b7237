"""`wasmq replay`: a job of a daemon once more, and whether it came to the same."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import msgspec
from cyclopts import Parameter

from wasmq import wit
from wasmq.cli.exits import Exit, UsageError
from wasmq.cli.inspect import unreadable
from wasmq.cli.output import complain, print_json, print_line, spin
from wasmq.cli.remote import DEFAULT_URL, Json, Token, Url, connect
from wasmq.config import EngineName
from wasmq.errors import Forbidden, NotDeterministic
from wasmq.receipts import recording_digest
from wasmq.remote import core_arguments
from wasmq.replay import compared, run_elsewhere
from wasmq.wit_json import from_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wasmq.client import Client
    from wasmq.handles import JobHandle
    from wasmq.replay import Replay
    from wasmq.scheduler import Scheduler
    from wasmq.submission import Request

__all__ = ["replay"]

_Engine = Annotated[EngineName | None, Parameter(help="Run it here, by this engine, and not by the daemon.")]
_Modules = Annotated[
    tuple[Path, ...],
    Parameter(
        negative=(),
        show_default=False,
        help="With --engine: a file with a module of the job, which else is fetched from the daemon.",
    ),
]


def replay(
    job: Annotated[str, Parameter(help="The job's id.")],
    /,
    *,
    engine: _Engine = None,
    module: _Modules = (),
    url: Url = DEFAULT_URL,
    token: Token = None,
    json: Json = False,
) -> int:
    """Run a job again and print how it compares; returns 0 when status, result and fuel agree, else 1."""
    if module and engine is None:
        raise UsageError("--module goes with --engine: without it, the daemon runs the job with what it has")

    async def ask() -> Replay:
        async with connect(url, token) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(spin, f"replaying {job}")
            found = await (client.replay(job) if engine is None else _replay_here(client, job, engine, module))
            tasks.cancel_scope.cancel()
        return found

    found = anyio.run(ask)
    if json:
        print_json(msgspec.structs.asdict(found) | {"agrees": found.agrees})
    else:
        for line in found.differences or (_agreement(found),):
            print_line(line)
        for note in found.notes:
            complain(note)
    return Exit.SUCCEEDED if found.agrees else Exit.DIFFERS


def _agreement(found: Replay) -> str:
    now = found.now
    return f"agrees: {now.status}, {now.fuel} fuel, result {now.result[:12]} ({now.engine}, {now.engine_version})"


async def _replay_here(client: Client, job: str, engine: EngineName, files: Sequence[Path]) -> Replay:
    then = (await client.job(job)).outcome
    receipt = None if then is None else then.receipt
    if then is None or receipt is None or not receipt.deterministic:
        why_not = "it has not ended" if receipt is None else receipt.obstacle
        raise NotDeterministic(f"job {job} cannot be replayed: {why_not}")
    call = await client.call(job)
    wasms = await _modules(client, dict.fromkeys([receipt.module, *receipt.links.values()]), files)
    recording = None if receipt.recording is None else await _recording(client, job, receipt.recording)
    now = await run_elsewhere(
        engine, receipt, wasms, lambda scheduler: _submit(scheduler, call, recording), recording=recording
    )
    return compared(job, None, then, now)


async def _recording(client: Client, job: str, digest: str) -> bytes:
    packed = (await client.recording(job)).pack()
    if recording_digest(packed) != digest:
        raise UsageError(f"job {job}: the daemon sent another recording than its receipt names, {digest[:12]}")
    return packed


async def _submit(scheduler: Scheduler, call: Request, recording: bytes | None = None) -> JobHandle:
    function = scheduler.module(call.module).function(call.export or "")
    if isinstance(function, wit.Func):
        args = tuple([from_json(param.type, each) for param, each in zip(function.params, call.args, strict=True)])
    else:
        args = core_arguments(call.args)
    call = msgspec.structs.replace(call, args=args, reuse="never")
    if recording is not None:
        call = msgspec.structs.replace(call, record=True, recording=recording)
    (handle,) = await scheduler.submit_many([call])
    return handle


async def _modules(client: Client, digests: dict[str, None], files: Sequence[Path]) -> list[bytes]:
    """Return the bytes of modules, from files as far as they are there, else from the daemon."""
    found: dict[str, bytes] = {}
    for file in files:
        with unreadable(file):
            wasm = await anyio.Path(file).read_bytes()
        digest = hashlib.sha256(wasm).hexdigest()
        if digest not in digests:
            raise UsageError(f"--module {file}: its digest is {digest[:12]}, which the job does not call")
        found[digest] = wasm
    for digest in digests:
        if digest in found:
            continue
        try:
            wasm = await client.wasm(digest)
        except Forbidden as error:
            raise Forbidden(f"{error}, to fetch module {digest[:12]}: name its file with --module") from None
        if hashlib.sha256(wasm).hexdigest() != digest:
            raise UsageError(f"module {digest[:12]}: the daemon sent other bytes than its digest says")
        found[digest] = wasm
    return list(found.values())
