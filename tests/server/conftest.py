"""A scheduler in memory whose jobs end when the test says so, and a client that talks to it without a socket."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from wasmq.budgets import Budgets
from wasmq.clock import SystemClock
from wasmq.config import StoreConfig, Tenant, load_config
from wasmq.errors import InvalidModule, UnknownJob, UnknownModule
from wasmq.handles import JobHandle
from wasmq.job import Call, Caps, Job, Outcome
from wasmq.modules import Module
from wasmq.server import build_app
from wasmq.store import JobRecord, MemoryStore
from wasmq.submission import Accepted
from wasmq.types import Extern, FunctionType, GlobalType, Import, MemoryType, TableType, TagType

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WASM = b"\0asm\x01\0\0\0"
EVERY = ("i32", "i64", "f32", "f64", "v128")
EXPORTS = (
    Extern("mul", FunctionType(("i32", "i32"), ("i32",))),
    Extern("every", FunctionType(EVERY, EVERY)),
    Extern("nothing", FunctionType((), ())),
    Extern("memory", MemoryType(1, 16, False, False, 65_536)),
    Extern("table", TableType("funcref", 1, None, False)),
    Extern("global", GlobalType("i32", True)),
    Extern("tag", TagType(("i32",))),
)
IMPORTS = (Import("env", "now", FunctionType((), ("i64",))),)


def make_module(wasm: bytes = WASM) -> Module:
    """Return a module as the library would after compiling `wasm`."""
    return Module(
        digest=hashlib.sha256(wasm).hexdigest(),
        kind="module",
        exports=EXPORTS,
        imports=IMPORTS,
        size=len(wasm),
        artifact=Path("artifact"),
        counted=True,
        start=False,
        memory=65_536,
        exported_memory=65_536,
    )


class Scheduler:
    """The surface that the routes use. `failure` is raised by the next call of `load`, `accept` or `cancel`."""

    def __init__(self, **server):
        self.config = load_config(environ={}, overrides={f"server.{key}": value for key, value in server.items()})
        self.metrics = SimpleNamespace(render=lambda: b"wasmq_workers 2\n")
        self.live = True
        self.problem = None
        self.failure = None
        self.requests = []
        self.waited = []
        self.waiting = anyio.Event()
        self._ids = itertools.count(1)
        self._records = {}
        self._finished = {}
        self._modules = {make_module().digest: make_module()}
        self._tenants = {"acme": Tenant(weight=2.0), "paid": Tenant(fuel_budget=1_000)}
        self._budgets = Budgets(MemoryStore(StoreConfig(), SystemClock()), SystemClock(), self._tenants)

    def _fail(self):
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure

    async def load(self, source):
        self._fail()
        if not source.startswith(b"\0asm"):
            raise InvalidModule("module: not a WebAssembly module")
        module = make_module(source)
        return self._modules.setdefault(module.digest, module)

    def modules(self):
        return list(self._modules.values())

    async def recall(self, digests):
        self._fail()

    def module(self, digest):
        try:
            return self._modules[digest]
        except KeyError:
            raise UnknownModule(f"no module with digest {digest!r} was loaded here") from None

    async def accept(self, requests):
        self._fail()
        accepted = []
        for request in requests:
            self.requests.append(request)
            job = Job(
                id=f"job-{next(self._ids)}",
                call=Call(request.module, request.export, tuple(request.args)),
                caps=Caps(1, 1, 1.0, 1),
                tenant=request.tenant,
                priority=request.priority,
                key=request.key,
                submitted_at=1_700_000_000.25,
                due=0.0,
                order=0.0,
                cost=1.0,
            )
            self._records[job.id] = JobRecord(job=job, state="queued", attempts=0, outcome=None)
            self._finished[job.id] = anyio.Event()
            accepted.append(Accepted(job, JobHandle(job.id, self.cancel, None), True))
        return accepted

    async def job(self, job_id):
        try:
            return self._records[job_id]
        except KeyError:
            raise UnknownJob(f"no job {job_id!r}") from None

    async def jobs(self, *, tenant=None, status=None, after=None, limit=100):
        newest = list(reversed(self._records.values()))
        if after is not None:
            ids = [record.job.id for record in newest]
            await self.job(after)
            newest = newest[ids.index(after) + 1 :]
        return [
            record
            for record in newest
            if tenant in (None, record.job.tenant)
            and status in (None, record.state, record.outcome and record.outcome.status)
        ][:limit]

    async def wait(self, job_id, timeout=None):
        await self.job(job_id)
        self.waited.append(timeout)
        self.waiting.set()
        with anyio.move_on_after(timeout):
            await self._finished[job_id].wait()
        return await self.job(job_id)

    async def cancel(self, job_id):
        self._fail()
        record = await self.job(job_id)
        if record.state == "finished":
            return False
        self.finish(job_id, Outcome(status="cancelled", error="cancelled"))
        return True

    async def set_tenant(self, name, tenant):
        self._tenants[name] = tenant
        self._budgets.set(name, tenant)

    def tenants(self):
        return self._tenants

    async def account(self, tenant):
        return await self._budgets.account(tenant)

    def accounts(self):
        return self._budgets.known()

    async def credit(self, tenant, fuel, *, key=None):
        return await self._budgets.credit(tenant, fuel, key)

    def finish(self, job_id, outcome):
        """End a job with `outcome`."""
        record = self._records[job_id]
        self._records[job_id] = JobRecord(job=record.job, state="finished", attempts=1, outcome=outcome)
        self._finished[job_id].set()


@pytest.fixture
def make_scheduler() -> type[Scheduler]:
    """Return the class: keyword arguments are the keys of `[server]`."""
    return Scheduler


@pytest.fixture
def scheduler() -> Scheduler:
    """Return a scheduler that knows one module."""
    return Scheduler()


@pytest.fixture
def digest() -> str:
    """Return the digest of the module that is loaded."""
    return make_module().digest


@pytest.fixture
async def client(scheduler: Scheduler) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of an application over `scheduler`."""
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=build_app(scheduler)), base_url="http://localhost"
    ) as client:
        yield client


@pytest.fixture
def connect():
    """Return a function that makes a client of an application over another scheduler."""

    def connect(scheduler: Scheduler) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(app=build_app(scheduler)), base_url="http://localhost")

    return connect
