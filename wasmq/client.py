"""The scheduler's surface again, over HTTP: `Client` talks to a daemon that `wasmq serve` runs."""

from __future__ import annotations

import secrets
from collections import OrderedDict, deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Unpack

import anyio
import msgspec

from wasmq.budgets import check_credit
from wasmq.config import checked_tenant
from wasmq.connection import Connection
from wasmq.errors import (
    CursorGone,
    Forbidden,
    InvalidModule,
    NoAccount,
    UnknownJob,
    UnknownModule,
    Unreachable,
    WasmqError,
    error_for,
)
from wasmq.events import JobFinished, JobOutput, JobProgress, JobQueued, JobRefuelled, JobStarted, JobSuspended
from wasmq.recording import MSGPACK
from wasmq.remote import (
    account_of,
    call_of,
    estimate_of,
    fuel_of,
    job_bodies,
    job_of,
    module_of,
    modules_of,
    page_bodies,
    recording_of,
    request_body,
    tenant_of,
    tenants_of,
)
from wasmq.remote_values import doubtful
from wasmq.replay import compared
from wasmq.sources import read_source
from wasmq.submission import ProgramOptions, Request

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Mapping, Sequence
    from types import TracebackType

    import httpx

    from wasmq.config import Tenant
    from wasmq.estimate import Estimate
    from wasmq.events import JobEvent
    from wasmq.job import Limits, OnExhausted, Outcome, Reuse, State, Status
    from wasmq.ledger import Account
    from wasmq.modules import Module
    from wasmq.recording import Recording
    from wasmq.remote import JobBody, RemoteJob, RemoteModule
    from wasmq.replay import Replay

__all__ = ["Client", "RemoteHandle"]

_WAIT: Final = 30.0  # seconds that one request waits for a job, before it is sent again
_COMPILE: Final = 300.0  # seconds that a module may take to be brought and compiled
_BATCH: Final = 256  # calls submitted together by `map`
_AHEAD: Final = 2_048  # calls kept submitted beyond the one whose outcome is waited for
_DESCRIBED: Final = 1_000  # modules whose types are kept
_FAREWELL: Final = 5.0  # seconds that cancelling jobs may take which nobody waits for any more
_OPTIONS: Final = (
    *("link", "limits", "tenant", "priority", "key", "delay", "deadline", "on_exhausted"),
    *("grant", "reuse", "record"),
)
_EVENTS: Final = {
    "queued": JobQueued,
    "started": JobStarted,
    "progress": JobProgress,
    "output": JobOutput,
    "suspended": JobSuspended,
    "refuelled": JobRefuelled,
}


class RemoteHandle:
    """A job that a daemon has accepted. `await` it, as often as you like, for its outcome."""

    __slots__ = ("_client", "_outcome", "at_risk", "id")

    def __init__(self, client: Client, job_id: str, outcome: Outcome | None = None, *, at_risk: bool = False) -> None:
        self.id = job_id
        self.at_risk = at_risk
        """Whether the daemon expected, when it accepted the job, that it will not be done by its deadline."""
        self._client = client
        self._outcome = outcome

    def __repr__(self) -> str:
        return f"<RemoteHandle {self.id} {self._outcome.status if self._outcome is not None else 'unfinished'}>"

    def __await__(self) -> Generator[Any, None, Outcome]:
        return self._wait().__await__()

    async def _wait(self) -> Outcome:
        if self._outcome is None:
            self._outcome = (await self._client.wait(self.id)).outcome
        assert self._outcome is not None
        return self._outcome

    @property
    def outcome(self) -> Outcome | None:
        """The outcome, or None as long as nobody has waited for it."""
        return self._outcome

    async def cancel(self) -> bool:
        """Cancel the job, waiting or running; False when it had finished already."""
        return await self._client.cancel(self.id)

    async def refuel(self, fuel: int) -> int:
        """Let the job, which runs or is suspended, spend so much more; returns what it may spend in all.

        Raises what `Client.refuel` raises.
        """
        return await self._client.refuel(self.id, fuel)

    def events(self) -> AsyncGenerator[JobEvent]:
        """Tell what happens to the job, from where it stands now to its end: see `wasmq.events`."""
        return self._client.events(self.id)


class Client:
    """Talks to the daemon at `url`, an asynchronous context manager like the `Scheduler`, with the same methods.

    `token` says whose jobs they are, where the daemon wants one. A request that finds no daemon, or one that has no
    room now, is sent again for `retry_for` seconds; a job is submitted under a key of its own, so that it never runs
    twice for that. `timeout` is how many seconds an answer may take. The URL of a daemon that listens on a file is
    unix:///PATH; for https `verify` is a PEM file with the certificates to trust instead of the usual ones. Everything
    raises what the scheduler raises, and `Unreachable`, `Unauthenticated` and `Forbidden` besides. What a component
    takes and returns is natural Python, as with the scheduler; a module that is named by its digest is looked up once
    for its types, if the token observes.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 10.0,
        retry_for: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
        verify: str | os.PathLike[str] | None = None,
    ) -> None:
        self._connection = Connection(
            url,
            token=token,
            timeout=timeout,
            retry_for=retry_for,
            transport=transport,
            verify=None if verify is None else str(verify),
        )
        self._ask = self._connection.ask
        self._modules: OrderedDict[str, RemoteModule | None] = OrderedDict()

    async def __aenter__(self) -> Client:
        await self._connection.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self._connection.close()

    # Load and submit.

    async def load(self, source: str | os.PathLike[str] | bytes) -> RemoteModule:
        """Bring the module in a file, in bytes, or in WebAssembly text to the daemon, and return what it is.

        Raises `InvalidModule`, or `OSError` when the file cannot be read.
        """
        content, name = await read_source(source)
        try:
            came = await self._ask("PUT", "/v1/modules", content=content, media="application/wasm", within=_COMPILE)
        except InvalidModule as error:
            raise InvalidModule(f"{name}{str(error).removeprefix('module')}") from None
        return self._known(module_of(came))

    async def modules(self) -> list[RemoteModule]:
        """Return the modules that the daemon has loaded; with a token only for who administers."""
        return [self._known(each) for each in modules_of(await self._ask("GET", "/v1/modules"))]

    async def module(self, digest: str) -> RemoteModule:
        """Return a loaded module. Raises `UnknownModule`."""
        return self._known(module_of(await self._ask("GET", f"/v1/modules/{_quoted(digest)}")))

    async def estimate(
        self, module: RemoteModule | Module | str, export: str | None = None, *, tenant: str | None = None
    ) -> Estimate:
        """Return what a call is expected to cost, and when it would start: see `Scheduler.estimate`.

        With a token that stands for a tenant, by the calls of that one.
        """
        digest = module if isinstance(module, str) else module.digest
        params = {"export": export, "tenant": tenant}
        return estimate_of(await self._ask("GET", f"/v1/modules/{_quoted(digest)}/estimate", params=params))

    def _known(self, module: RemoteModule) -> RemoteModule:
        self._keep(module.digest, module)
        return module

    def _keep(self, digest: str, module: RemoteModule | None) -> None:
        self._modules[digest] = module
        self._modules.move_to_end(digest)
        if len(self._modules) > _DESCRIBED:
            self._modules.popitem(last=False)

    async def _describe(self, digest: str) -> None:
        """Look a module up that has not been met; one that may not be looked at is read as core values are."""
        if digest not in self._modules:
            try:
                await self.module(digest)
            except (UnknownModule, Forbidden):
                self._keep(digest, None)

    async def _body(self, request: Request) -> dict[str, Any]:
        if doubtful(request.args):
            await self._describe(request.module)
        return request_body(request, request.key or _own_key(), self._modules.get(request.module))

    async def _read(self, bodies: Sequence[JobBody]) -> list[RemoteJob]:
        for digest in dict.fromkeys([body.module for body in bodies if body.doubtful]):
            await self._describe(digest)
        return [job_of(body, self._modules) for body in bodies]

    async def _job(self, came: bytes) -> RemoteJob:
        (job,) = await self._read(job_bodies(came))
        return job

    async def submit(
        self,
        module: RemoteModule | Module | str,
        export: str | None = None,
        *args: Any,
        link: Mapping[str, RemoteModule | Module | str] | None = None,
        limits: Limits | None = None,
        tenant: str = "default",
        priority: int = 0,
        key: str | None = None,
        delay: float = 0.0,
        deadline: float | None = None,
        on_exhausted: OnExhausted = "stop",
        grant: Sequence[str] = (),
        reuse: Reuse | None = None,
        record: bool | None = None,
        wait: bool = True,
        **program: Unpack[ProgramOptions],
    ) -> RemoteHandle:
        """Queue one call, or without an export the run of a WASI command; takes what `Scheduler.submit` takes.

        The tenant "default" is the one that the token stands for. A full queue is tried again for as long as an
        unreachable daemon, or refused with `QueueFull` when `wait` is false.
        """
        options: dict[str, Any] = {"link": link, "limits": limits, "tenant": tenant, "priority": priority}
        options |= {"key": key, "delay": delay, "deadline": deadline, "on_exhausted": on_exhausted}
        options |= {"grant": grant, "reuse": reuse, "record": record, **program}
        (handle,) = await self.submit_many([_request_of(module, export, args, options)], wait=wait)
        return handle

    async def submit_many(self, requests: Sequence[Request], *, wait: bool = True) -> list[RemoteHandle]:
        """Queue several calls, all of them or none; returns their handles in the same order. Raises a `Refused`."""
        if not requests:
            return []
        bodies = [await self._body(request) for request in requests]
        jobs = await self._post(bodies if len(bodies) > 1 else bodies[0], patient=wait)
        return [RemoteHandle(self, job.id, job.outcome, at_risk=job.at_risk) for job in jobs]

    async def run(
        self, module: RemoteModule | Module | str, export: str | None = None, *args: Any, **options: Any
    ) -> Outcome:
        """Submit one call, or without an export a WASI command, and return its outcome; takes what `submit` takes.

        Raises the `JobError` that belongs to its status unless it succeeded. When the waiting task is cancelled, so
        is the job.
        """
        patient = options.pop("wait", True)
        request = _request_of(module, export, args, options)
        body = await self._body(request)
        try:
            (job,) = await self._post(body, patient=patient, wait=_WAIT)
            outcome = job.outcome or await RemoteHandle(self, job.id)
        except BaseException:
            await self._take_back(body)
            raise
        if outcome.status != "succeeded":
            raise error_for(outcome)
        return outcome

    async def map(
        self,
        module: RemoteModule | Module | str,
        export: str,
        calls: Iterable[Sequence[Any]],
        *,
        link: Mapping[str, RemoteModule | Module | str] | None = None,
        limits: Limits | None = None,
        tenant: str = "default",
        priority: int = 0,
        on_exhausted: OnExhausted = "stop",
        grant: Sequence[str] = (),
        reuse: Reuse | None = None,
        record: bool | None = None,
        accepted: Callable[[RemoteHandle], object] | None = None,
    ) -> AsyncIterator[Outcome]:
        """Run an export once for each tuple of arguments, and yield the outcomes in their order.

        Never raises for what a guest did. When the iteration is given up, the calls that have not finished are
        cancelled. The rest is as in `submit`; `accepted` is called with the handle of each call, in their order, once
        it is accepted. With `on_exhausted="suspend"` a call that has spent its fuel holds up the outcomes behind it
        until it is refuelled, by that handle or its id, or given up after `limits.suspend` seconds.
        """
        source = iter(calls)
        waiting: deque[RemoteHandle] = deque()
        # Asked for together they come together, and one that is suspended would hold up those before it.
        together = 1 if on_exhausted == "suspend" else _BATCH
        try:
            while batch := list(islice(source, _BATCH)):
                options: dict[str, Any] = {"link": link, "limits": limits, "tenant": tenant, "priority": priority}
                options |= {"on_exhausted": on_exhausted, "grant": grant, "reuse": reuse, "record": record}
                handles = await self.submit_many([_request_of(module, export, args, dict(options)) for args in batch])
                waiting += handles
                if accepted is not None:
                    for handle in handles:
                        accepted(handle)
                while len(waiting) > _AHEAD:
                    yield await self._first(waiting, together)
                    waiting.popleft()
            while waiting:
                yield await self._first(waiting, together)
                waiting.popleft()
        finally:
            with anyio.move_on_after(_FAREWELL, shield=True):
                for handle in waiting:
                    if handle.outcome is None:
                        await handle.cancel()

    async def _first(self, waiting: deque[RemoteHandle], together: int) -> Outcome:
        """Return the outcome of the first; one request brings those of so many."""
        first = waiting[0]
        if first.outcome is None:
            batch = {handle.id: handle for handle in islice(waiting, together) if handle.outcome is None}
            params = {"ids": ",".join(batch)}
            found, _ = page_bodies(await self._ask("GET", "/v1/jobs", params=params, wait=_WAIT))
            for job in await self._read(found):
                batch[job.id]._outcome = job.outcome  # noqa: SLF001 - the handles are this module's own
        return await first

    async def requeue(self, id: str) -> RemoteHandle:  # noqa: A002
        """Queue the call of a job that was lost again, as a new job; a second time, that same one.

        Raises `UnknownJob`, `NotLost` for a job that did not end so, or a `Refused` as `submit` does.
        """
        job = await self._job(await self._ask("POST", f"/v1/jobs/{_quoted(id)}/requeue", patient=False))
        return RemoteHandle(self, job.id, job.outcome)

    async def refuel(self, id: str, fuel: int) -> int:  # noqa: A002
        """Let a job that runs, or is suspended, spend so much more fuel; returns what it may spend in all.

        Raises what `Scheduler.refuel` raises. It is sent once: after an `Unreachable`, nobody knows whether it came.
        """
        content = msgspec.json.encode({"fuel": fuel})
        path = f"/v1/jobs/{_quoted(id)}/refuel"
        return fuel_of(await self._ask("POST", path, content=content, patient=False, repeatable=False))

    async def rerun(self, id: str) -> RemoteHandle:  # noqa: A002
        """Queue the call of a job that has ended again, exactly as it was, as a new job of the same tenant.

        Raises `UnknownJob`, `NotDeterministic`, or a `Refused` as `submit` does.
        """
        job = await self._job(await self._ask("POST", f"/v1/jobs/{_quoted(id)}/replay", patient=False))
        return RemoteHandle(self, job.id, job.outcome)

    async def replay(self, id: str) -> Replay:  # noqa: A002
        """Run a job that has ended again, and say whether status, result and fuel agree to the unit.

        It is run by the daemon, as a job of the same tenant, at its cost. Raises as `rerun` does.
        """
        handle = await self.rerun(id)
        then = (await self.job(id)).outcome
        if then is None:
            raise Unreachable(f"job {id} has been replayed, and has no outcome, says the daemon")
        try:
            now = await handle
        finally:
            if handle.outcome is None:
                with anyio.move_on_after(_FAREWELL, shield=True):
                    await handle.cancel()
        return compared(id, handle.id, then, now)

    # Ask and cancel.

    async def job(self, id: str) -> RemoteJob:  # noqa: A002
        """Return what is known of a job. Raises `UnknownJob`."""
        return await self._job(await self._ask("GET", f"/v1/jobs/{_quoted(id)}"))

    async def call(self, id: str) -> Request:  # noqa: A002
        """Return what a job was asked to do, as it could be submitted. Raises `UnknownJob`.

        Arguments are as JSON has them.
        """
        return call_of(await self._ask("GET", f"/v1/jobs/{_quoted(id)}/call"))

    async def recording(self, id: str) -> Recording:  # noqa: A002
        """Return the host calls of a job that has ended, as recorded. Raises `UnknownJob` or `NotRecorded`."""
        return recording_of(await self._ask("GET", f"/v1/jobs/{_quoted(id)}/recording", accept=MSGPACK))

    async def wasm(self, digest: str) -> bytes:
        """Return the bytes of a loaded module; with a token only for who administers. Raises `UnknownModule`."""
        return await self._ask("GET", f"/v1/modules/{_quoted(digest)}", accept="application/wasm", within=_COMPILE)

    async def jobs(
        self,
        *,
        tenant: str | None = None,
        status: State | Status | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[RemoteJob]:
        """Return jobs, newest first, beginning behind the job with the id `after`.

        Raises `UnknownJob` when that one has left the history, so that nobody takes it for the end.
        """
        found: list[RemoteJob] = []
        cursor = after
        while len(found) < limit:
            params = {"tenant": tenant, "status": status, "cursor": cursor, "limit": min(limit - len(found), 1_000)}
            try:
                page, cursor = page_bodies(await self._ask("GET", "/v1/jobs", params=params))
            except CursorGone as error:
                raise UnknownJob(str(error)) from None
            found += await self._read(page)
            if cursor is None:
                break
        return found

    async def wait(self, id: str, timeout: float | None = None) -> RemoteJob:  # noqa: A002
        """Return a job once it is finished, or as it is after `timeout` seconds. Raises `UnknownJob`."""
        until = None if timeout is None else anyio.current_time() + timeout
        while True:
            seconds = _WAIT if until is None else min(_WAIT, max(0.0, until - anyio.current_time()))
            job = await self._job(await self._ask("GET", f"/v1/jobs/{_quoted(id)}", wait=seconds))
            if job.outcome is not None or (until is not None and anyio.current_time() >= until):
                return job

    async def events(self, id: str) -> AsyncGenerator[JobEvent]:  # noqa: A002
        """Tell what happens to a job, from its present state to its end, over as many connections as it takes.

        Raises `UnknownJob`.
        """
        last_id, told = "", None
        while True:
            async for heard, name, data in self._connection.stream(f"/v1/jobs/{_quoted(id)}/events", last_id):
                last_id = heard
                if name == "finished":
                    outcome = (await self._job(data)).outcome
                    if outcome is None:
                        raise Unreachable(f"job {id} ended without an outcome, says the daemon")
                    yield JobFinished(outcome)
                    return
                event = _event(name, data)
                if event is None or event == told:
                    continue  # a state that was told before the connection broke, or news of a later version
                if isinstance(event, (JobQueued, JobStarted, JobSuspended, JobRefuelled)):
                    told = event
                yield event

    async def cancel(self, id: str) -> bool:  # noqa: A002
        """Cancel a job, waiting or running; False when it had finished already. Raises `UnknownJob`."""
        if (await self.job(id)).outcome is not None:
            return False
        outcome = (await self._job(await self._ask("DELETE", f"/v1/jobs/{_quoted(id)}"))).outcome
        return outcome is None or outcome.status == "cancelled"

    # Tenants.

    async def set_tenant(self, name: str, tenant: Tenant) -> None:
        """Set a tenant's share, bounds and account's terms from now on; with a token only for who administers.

        Raises `ConfigError` for impossible ones.
        """
        tenant = checked_tenant(name, tenant)
        share = msgspec.to_builtins(tenant, builtin_types=(int,), enc_hook=int)
        del share["tokens"], share["roles"]
        await self._ask("PUT", f"/v1/tenants/{_quoted(name)}", content=msgspec.json.encode(share))

    async def tenants(self) -> dict[str, Tenant]:
        """Return the tenants that have been configured; with a token only for who administers."""
        return {name: tenant for name, (tenant, _) in tenants_of(await self._ask("GET", "/v1/tenants")).items()}

    async def accounts(self) -> dict[str, Account]:
        """Return the accounts of the tenants that have one, as last known; only for who administers."""
        found = tenants_of(await self._ask("GET", "/v1/tenants"))
        return {name: account for name, (_, account) in found.items() if account is not None}

    async def tenant(self, name: str) -> Tenant:
        """Return a tenant's share, which is the default for one that nobody configured."""
        return tenant_of(await self._ask("GET", f"/v1/tenants/{_quoted(name)}"))[0]

    async def account(self, tenant: str) -> Account:
        """Return how a tenant's fuel account stands. Raises `NoAccount` when it has none."""
        _, account = tenant_of(await self._ask("GET", f"/v1/tenants/{_quoted(tenant)}"))
        if account is None:
            raise NoAccount(f"tenant {tenant!r} has no account")
        return account

    async def credit(self, tenant: str, fuel: int, *, key: str | None = None) -> Account:
        """Grant a tenant fuel beside its budget, and return its account then; only for who administers.

        Sent twice, it is granted once: under the `key`, or one of its own. Raises `NoAccount`, `KeyConflict` or
        `InvalidArguments`.
        """
        content = msgspec.json.encode({"fuel": check_credit(fuel), "key": key or _own_key()})
        return account_of(await self._ask("POST", f"/v1/tenants/{_quoted(tenant)}/credit", content=content))

    async def metrics(self) -> str:
        """Return the daemon's metrics in Prometheus' text format; with a token only for who administers."""
        return (await self._ask("GET", "/metrics")).decode()

    async def _post(self, body: Any, *, patient: bool, wait: float = 0.0) -> list[RemoteJob]:
        content = msgspec.json.encode(body)
        came = await self._ask("POST", "/v1/jobs", content=content, wait=wait, patient=patient)
        return await self._read(job_bodies(came))

    async def _take_back(self, body: dict[str, Any]) -> None:
        """Cancel a job that may have been accepted or not: the same key again gives its id."""
        with anyio.move_on_after(_FAREWELL, shield=True):
            try:
                (job,) = await self._post(body, patient=False)
                await self.cancel(job.id)
            except WasmqError:
                pass  # it is the first error that the caller is to see


def _event(name: str, data: bytes) -> JobEvent | None:
    kind = _EVENTS.get(name)
    if kind is None:
        return None
    try:
        event: JobEvent = msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise Unreachable(f"the event is not one of a wasmq daemon: {error}") from None
    return event


def _request_of(
    module: RemoteModule | Module | str, export: str | None, args: Sequence[Any], options: dict[str, Any]
) -> Request:
    known = {name: options.pop(name) for name in _OPTIONS if name in options}
    return Request(
        module=module if isinstance(module, str) else module.digest,
        export=export,
        args=args,
        program=options,  # type: ignore[arg-type]
        **known,
    )


def _own_key() -> str:
    """Return a key that nobody else has: sent twice, it is still one job."""
    return f"client {secrets.token_hex(16)}"


def _quoted(part: str) -> str:
    from urllib.parse import quote

    return quote(part, safe="")
