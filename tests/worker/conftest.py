"""Compile and worker processes that the tests of this directory share."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from .driver import Compiler, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# How long an example takes says more of the machine than of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

ENGINES = ("native", "interpreter")


@pytest.fixture(scope="session")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compiler]:
    """The waiting compile process."""
    compiler = Compiler(tmp_path_factory.mktemp("artifacts"))
    yield compiler
    compiler.close()


@pytest.fixture(scope="session")
def shared_workers(compiler: Compiler) -> Iterator[dict[str, Worker]]:
    """One worker of each engine for all tests that do not harm it."""
    with ExitStack() as stack:
        workers = {}
        for engine in ENGINES:
            workers[engine] = Worker(compiler, engine)
            stack.callback(workers[engine].close)
        yield workers


@pytest.fixture(params=ENGINES)
def worker(request: pytest.FixtureRequest, shared_workers: dict[str, Worker]) -> Iterator[Worker]:
    """A live worker, once with each engine; nothing runs in it before and after a test."""
    worker = shared_workers[request.param]
    yield worker
    worker.cancel(worker.live)


@pytest.fixture(scope="session")
def workers_of_all_kinds(compiler: Compiler) -> Iterator[list[Worker]]:
    """Native and interpreting workers with a short quantum, and with one that nothing ever uses up."""
    with ExitStack() as stack:
        workers = []
        for engine in ENGINES:
            for quantum in (1_000, 10**9):
                workers.append(Worker(compiler, engine, quantum=quantum))
                stack.callback(workers[-1].close)
        yield workers


@pytest.fixture
def open_worker(compiler: Compiler) -> Iterator[Callable[..., Worker]]:
    """Start workers with settings of the test's own, or such as the test is going to harm."""
    with ExitStack() as stack:

        def start(engine: str = "native", **settings: float) -> Worker:
            worker = Worker(compiler, engine, **settings)  # type: ignore[arg-type]
            stack.callback(worker.close)
            return worker

        yield start
