"""`wasmq submit`: a job for a daemon."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import msgspec
from cyclopts import Parameter

from wasmq.cli.directories import parse_directory, write_back
from wasmq.cli.exits import Exit
from wasmq.cli.inspect import unreadable
from wasmq.cli.jobs import show_end
from wasmq.cli.options import (
    Argv,
    Deterministic,
    Env,
    Export,
    FilesSize,
    Fuel,
    Grants,
    LinkedFiles,
    Memory,
    Output,
    Stdin,
    Timeout,
    linked_files,
    refuse_options,
)
from wasmq.cli.output import complain, print_json, print_line, spin
from wasmq.cli.remote import DEFAULT_URL, Json, Token, Url, connect, job_report
from wasmq.cli.run import Wanted, request_of
from wasmq.config import Config
from wasmq.job import Limits, OnExhausted, Reuse
from wasmq.modules import is_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wasmq.client import Client
    from wasmq.remote import RemoteJob, RemoteModule

__all__ = ["submit"]

_File = Annotated[Path, Parameter(help="A module: wasm bytes, WebAssembly text, or the digest of a loaded one.")]
_PATIENCE = 30.0  # seconds that a daemon may be away
_Suspend = Annotated[
    float | None, Parameter(help="Seconds that it waits to be refuelled, with --on-exhausted suspend.")
]
_OnExhausted = Annotated[
    OnExhausted, Parameter(help="When its fuel is spent: stop ends it, suspend waits for wasmq refuel.")
]
_Directories = Annotated[
    tuple[str, ...],
    Parameter(
        name="--dir",
        negative=(),
        show_default=False,
        help="A directory whose files a program gets, HOST::GUEST; with --wait, what it changes is written back.",
    ),
]
_Reuse = Annotated[
    Reuse | None, Parameter(help="Whether an identical job's run may answer it: under way, or ended as well.")
]
_Record = Annotated[bool | None, Parameter(show_default=False, help="Keep its host calls, so that it can be replayed.")]
_Recording = Annotated[str | None, Parameter(help="Bytes that they may take, with --record: bytes, or like 1MiB.")]


def submit(
    file: _File,
    export: Export = None,
    /,
    *args: Annotated[str, Parameter(allow_leading_hyphen=True, help="Its arguments, as for run.")],
    fuel: Fuel = None,
    memory: Memory = None,
    timeout: Timeout = None,
    output: Output = None,
    files: FilesSize = None,
    suspend: _Suspend = None,
    on_exhausted: _OnExhausted = "stop",
    argv: Argv = (),
    stdin: Stdin = None,
    env: Env = (),
    directories: _Directories = (),
    deterministic: Deterministic = False,
    tenant: Annotated[str, Parameter(help="Whose job it is; left out, the token's own.")] = "default",
    priority: Annotated[int, Parameter(help="The highest goes first.")] = 0,
    key: Annotated[str | None, Parameter(help="The same key and call again is the same job.")] = None,
    delay: Annotated[float, Parameter(help="Seconds before it may start.")] = 0.0,
    reuse: _Reuse = None,
    record: _Record = None,
    recording: _Recording = None,
    deadline: Annotated[float | None, Parameter(help="Seconds from now by which it is to have ended.")] = None,
    link: LinkedFiles = (),
    grant: Grants = (),
    wait: Annotated[bool, Parameter(negative=(), show_default=False, help="Wait for it, as run does.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
    json: Json = False,
) -> int:
    """Queue a job and print its id, or wait for it and print its value."""
    linked = linked_files(link)
    for each in (file, *linked.values()):
        if not _is_digest(each):
            with unreadable(each):
                each.stat()
    refuse_options(args, "submit")
    limits = Limits(
        fuel=fuel, memory=memory, timeout=timeout, output=output, files=files, suspend=suspend, recording=recording
    )
    mounted = [parse_directory(text) for text in directories]
    wanted = Wanted(file, export, args, argv, stdin, env, mounted, deterministic, limits, linked, grant)
    terms = {"tenant": tenant, "priority": priority, "key": key, "delay": delay, "deadline": deadline}
    terms |= {"on_exhausted": on_exhausted, "reuse": reuse, "record": record}
    job = anyio.run(_submit, connect(url, token, retry_for=_PATIENCE if wait else 0.0), wanted, terms, wait)
    if wait:
        return show_end(job, json=json)
    if json:
        print_json(job_report(job))
    else:
        print_line(job.id)
    return Exit.SUCCEEDED


async def _submit(connection: Client, wanted: Wanted, terms: Mapping[str, Any], wait: bool) -> RemoteJob:
    """Submit the job on these terms of the queue's, wait for it if that is wanted, and return how it stands then."""
    async with connection as client, anyio.create_task_group() as tasks:
        tasks.start_soon(spin, f"submitting {wanted.named}")
        module = await _module(client, wanted.file)
        links = {name: await _module(client, each) for name, each in wanted.linked.items()}
        request, before = await request_of(Config(), module, wanted)
        request = msgspec.structs.replace(request, link=links, **terms)
        (handle,) = await client.submit_many([request], wait=wait)
        if handle.at_risk:
            complain(f"job {handle.id} is not expected to be done by its deadline")
        if wait:
            write_back(wanted.directories, before, (await handle).files)
        job = await client.job(handle.id)
        tasks.cancel_scope.cancel()
    return job


def _is_digest(file: Path) -> bool:
    return is_digest(str(file)) and not file.exists()


async def _module(client: Client, file: Path) -> RemoteModule:
    with unreadable(file):
        return await (client.module(str(file)) if _is_digest(file) else client.load(file))
