"""What every test may ask for."""

from __future__ import annotations

import logging
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from postgres import Cluster, drop_schema, make_schema, private_cluster, server_url
from watching import forget_children

import wasmq
from wasmq import logs
from wasmq.config import Config, ModulesConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

GUESTS = Path(__file__).parent.parent / "workers" / "guests"


@pytest.fixture(autouse=True)
def no_outside_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """No WASMQ_* variable of the machine reaches a test."""
    for name in list(os.environ):
        if name.startswith("WASMQ_") and not name.startswith("WASMQ_TEST_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_children_of_others() -> None:
    """What a test sees of child processes does not depend on which tests ran before it."""
    forget_children()


@pytest.fixture(autouse=True)
def logging_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test that runs a command in this process leaves the process's logging as it was found."""
    root, ours = logging.getLogger(), logging.getLogger("wasmq")
    levels = root.level, ours.level
    monkeypatch.setattr(logs, "_output", None)
    yield
    for handler in root.handlers[:]:
        if isinstance(handler, logs._Foreign):
            root.removeHandler(handler)
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


@pytest.fixture
def seed() -> int:
    """What decides everything that a test draws by lot: WASMQ_TEST_SEED, or another each time. Shown when it fails."""
    number = int(os.environ.get("WASMQ_TEST_SEED") or random.SystemRandom().randrange(2**32))
    print(f"WASMQ_TEST_SEED={number}")
    return number


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for compiled modules that all tests share."""
    return tmp_path_factory.mktemp("modules")


@pytest.fixture
def guests() -> Path:
    """The directory of the guest programs."""
    return GUESTS


@pytest.fixture
def config(cache: Path) -> Config:
    """A configuration that keeps compiled modules in the tests' own directory."""
    return Config(modules=ModulesConfig(directory=str(cache)))


@pytest.fixture
def make_scheduler(config: Config) -> Callable[..., wasmq.Scheduler]:
    """Make a scheduler with one worker and the tests' module directory; takes what `Scheduler` takes."""

    def make(**options: object) -> wasmq.Scheduler:
        options.setdefault("workers", 1)
        options.setdefault("config", config)
        return wasmq.Scheduler(**options)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """The URL of a PostgreSQL server's database in which schemas can be made."""
    return server_url()


@pytest.fixture
async def postgres_url(postgres_server: str) -> AsyncIterator[str]:
    """The URL of a store on PostgreSQL, with nothing in it."""
    url = await make_schema(postgres_server)
    yield url
    await drop_schema(url)


@pytest.fixture
def postgres_cluster() -> Cluster:
    """A private PostgreSQL server that the test may stop and start; other tests use it afterwards."""
    return private_cluster()
