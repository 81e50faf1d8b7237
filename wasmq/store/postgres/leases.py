"""The lease loop: a daemon's lease is one row, and the lease of every job that it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from wasmq.errors import StoreUnavailable
from wasmq.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from anyio.abc import TaskStatus

    from wasmq.store.postgres.database import Database

_RENEWALS: Final = 3  # in one lease
_TERM: Final = 0.75  # of the lease; the rest is for those who sweep to notice
FORGET: Final = 10
"""Times the patience after which a statement that was not answered cannot be carried out any more."""


class Lease:
    """Renews the lease of the daemon `owner`, by the clock of the database: daemons' own clocks may differ.

    `lost_claims` are the numbers of claims that were not answered, each with when that was. What they took
    belongs to this daemon without its knowing, so `unclaim` queues it again.
    """

    def __init__(
        self,
        database: Database,
        sql: Mapping[str, str],
        *,
        owner: int,
        name: str,
        seconds: float,
        patience: float,
        lost_claims: dict[int, float],
        unclaim: Callable[[Sequence[int]], Awaitable[None]],
    ) -> None:
        self.others = 0
        """Other daemons that share the store, as of the last renewal."""
        self._database = database
        self._sql = sql
        self._owner = owner
        self._name = name
        self._seconds = seconds
        self._patience = patience
        self._lost_claims = lost_claims
        self._unclaim = unclaim
        self._held = False
        self._closed = anyio.Event()
        self._log = get_logger()

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Renew until closed."""
        task_status.started()
        while not self._closed.is_set():
            with anyio.move_on_after(self._seconds / _RENEWALS):
                await self._closed.wait()
                return
            try:
                await self.renew()
            except StoreUnavailable:
                continue

    async def renew(self) -> None:
        """Renew now. Raises `StoreUnavailable`."""
        (row,) = await self._database.fetch(self._sql["renew"], self._owner, self._name, _TERM * self._seconds)
        if row["fresh"] and self._held:
            # Its jobs are others' now; what it says of them will be refused, and it goes on with new ones.
            self._log.warning("store.lease_lapsed", store=self._database.place, lease=self._seconds)
        self._held = True
        self.others = row["others"]
        await self._undo_lost_claims()

    async def retire(self) -> None:
        """End the loop and give the lease up: what this daemon still holds is anyone's at once."""
        self._closed.set()
        if self._held:
            self._held = False
            await self._database.execute(self._sql["retire"], self._owner)

    async def _undo_lost_claims(self) -> None:
        if not self._lost_claims:
            return
        numbers = list(self._lost_claims)
        await self._unclaim(numbers)
        long_ago = anyio.current_time() - FORGET * self._patience
        for number in numbers:
            if self._lost_claims[number] < long_ago:
                del self._lost_claims[number]
