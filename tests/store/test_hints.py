"""The hint loops outlive whatever a connection that breaks makes of them."""

import anyio
import anyio.lowlevel
import asyncpg
import pytest

from wasmq.bell import Bell
from wasmq.errors import StoreUnavailable
from wasmq.store.postgres import hints
from wasmq.store.postgres.hints import Hints, Listener

BROKEN = [
    asyncpg.InternalClientError("got result for unknown protocol state 3"),
    asyncpg.InterfaceError("connection is closed"),
    asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
    asyncpg.AdminShutdownError("terminating connection due to administrator command"),
    asyncpg.CannotConnectNowError("the database system is starting up"),
    asyncpg.TooManyConnectionsError("sorry, too many clients already"),
    ConnectionResetError("reset"),
    TimeoutError(),
    StoreUnavailable("away"),
]


class Connection:
    """A connection that fails in one place, once, and is heard of when it listens."""

    def __init__(self, place, error):
        self._place, self._error = place, error
        self.listens = anyio.Event()
        self.terminated = False

    def _fail(self, place):
        if place == self._place:
            raise self._error

    def add_termination_listener(self, callback):
        """Take a callback, which is never called."""

    async def add_listener(self, channel, callback):
        """Listen, or fail."""
        self._fail("add_listener")
        self.listens.set()

    async def execute(self, statement):
        """Do nothing, or fail."""
        self._fail("execute")

    def terminate(self):
        """Note that it is given up."""
        self.terminated = True


class Database:
    """Gives out a connection that breaks, then one that does not."""

    lock = 7

    def __init__(self, place, error):
        self.place, self.error = place, error
        self.connections = [Connection(place, error), Connection(None, None)]
        self._left = list(self.connections)
        self.told = 0
        self.heard = anyio.Event()

    async def connect(self):
        """Connect, or fail the first time."""
        connection = self._left.pop(0)
        connection._fail("connect")
        return connection

    async def execute(self, statement):
        """Tell, or fail the first time."""
        self.told += 1
        if self.told == 1:
            raise self.error
        self.heard.set()


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    """Nothing is waited for between two tries."""
    for name in ("_AGAIN", "_PROBE", "_APART"):
        monkeypatch.setattr(hints, name, 0.001)


@pytest.mark.parametrize("place", ["connect", "add_listener", "execute"])
@pytest.mark.parametrize("error", BROKEN, ids=lambda error: type(error).__name__)
async def test_a_connection_that_breaks_does_not_end_the_listener(place, error):
    """It gives the connection up and listens on another one, wherever the first one broke and whatever it raised."""
    database = Database(place, error)
    listener = Listener(database, 1, Bell())
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            await tasks.start(lambda *, task_status: listener.run(task_status=task_status))
            await database.connections[1].listens.wait()
            listener.close()
    assert [connection.terminated for connection in database.connections] == [place != "connect", True]


async def test_a_hint_that_cannot_be_given_does_not_end_the_loop():
    """The next one is given."""
    database = Database("execute", StoreUnavailable("away"))
    sender = Hints(database, 1)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            await tasks.start(lambda *, task_status: sender.run(task_status=task_status))
            while not database.heard.is_set():
                sender.give()
                await anyio.lowlevel.checkpoint()
            sender.close()
