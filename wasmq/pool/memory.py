"""Whose memory there is room for. Pure: what a job can come to is booked before it starts, and freed when it is gone.

Each worker has a share of equal size. A job that fits no share waits, and others go on around it; the first that waits
has a reservation, and what is started beside it is only what leaves room for it. This is EASY backfilling (Lifka, "The
ANL/IBM SP Scheduling System", 1995) with the job's own limits in place of estimates of its run time: every job ends by
its timeout, so the reserved room does come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wasmq.job import Job, Program
    from wasmq.modules import Module

INSTANCE: Final = 640 * 2**10
"""Bytes booked for every instance: its stack of 512 KiB, and what the engine and the worker note of it. The rest of
what a module's instances take beside memory depends on the module: see `Module.record`."""


def need_of(job: Job, modules: Sequence[Module]) -> int:
    """Return the bytes of host memory that a job can come to at most; `modules` are its own and those it links.

    That is its memories within its cap, the output and files that are kept for a guest that can make any, what it
    brings, and what its instances take.
    """
    caps, call = job.caps, job.call
    if len(modules) == 1:
        module = modules[0]
        need = INSTANCE + module.memory_within(caps.memory) + module.record
        can_write = module.is_hosted
    else:
        need = INSTANCE + caps.memory + sum([module.record for module in modules])
        can_write = any(module.is_hosted for module in modules)
    if call.program is not None:
        need += caps.output + caps.files + _brought(call.program)
    elif can_write:
        need += caps.output
    if call.args and isinstance(call.args[0], bytes):
        need += len(call.args[0])  # a component's arguments are one piece
    return need


def _brought(program: Program) -> int:
    """Return the bytes that a guest is given, its files apart: they count among those it may have."""
    texts = [*program.argv, *program.env, *program.env.values()]
    return len(program.stdin) + sum([len(text) for text in texts])


class Share:
    """One worker's. `booked` is bytes, `beside` those of them that were booked since the first in line waits for it."""

    __slots__ = ("beside", "booked", "taken")

    def __init__(self) -> None:
        self.booked = 0
        self.beside = 0
        self.taken = False


class _Booking(NamedTuple):
    share: Share
    need: int
    turn: int


class Memory:
    """The books of `count` shares of `size` bytes each."""

    def __init__(self, size: int, count: int) -> None:
        self.size = size
        self.booked = 0
        """Bytes that all jobs together have booked."""
        self.reserved: str | None = None
        """The id of the job that has a reservation."""
        self._shares = [Share() for _ in range(count)]
        self._bookings: dict[str, _Booking] = {}
        self._first: tuple[Share, int] | None = None
        # Counts reservations: what was booked before the present one is waited for, what came later is beside it.
        self._turn = 0

    @property
    def given(self) -> int:
        """Bytes of all shares together."""
        return self.size * len(self._shares)

    def take(self) -> Share:
        """Return a share for a worker that has joined: one that no other worker has."""
        share = next((share for share in self._shares if not share.taken), None)
        if share is None:
            share = Share()
            self._shares.append(share)
        share.taken = True
        return share

    def give_back(self, share: Share) -> None:
        """Note that a share's worker is gone; what jobs in workers of their own have booked of it stays booked."""
        share.taken = False
        if self._first is not None and self._first[0] is share:
            self.forgo()

    def fits(self, share: Share, job_id: str, need: int) -> bool:
        """Return whether a job may be booked, with what is reserved for another left alone."""
        if share.booked + need > self.size:
            return False
        first = self._first
        if first is None or first[0] is not share or job_id == self.reserved:
            return True
        return share.beside + need + first[1] <= self.size

    def any_share(self, job_id: str, need: int) -> Share | None:
        """Return the share with the least booked in which a job fits, None when there is none."""
        fitting = [share for share in self._shares if self.fits(share, job_id, need)]
        return min(fitting, key=_booked, default=None)

    def book(self, share: Share, job_id: str, need: int) -> None:
        """Book what a job needs, in place of its reservation if it has one."""
        if job_id == self.reserved:
            self.forgo()
        share.booked += need
        share.beside += need
        self.booked += need
        self._bookings[job_id] = _Booking(share, need, self._turn)

    def free(self, job_id: str) -> None:
        """Free what a job has booked."""
        share, need, turn = self._bookings.pop(job_id)
        share.booked -= need
        self.booked -= need
        if turn == self._turn:
            share.beside -= need

    def reserve(self, job_id: str, need: int) -> None:
        """Reserve room for a job in the share where the least is in its way."""
        share = min([share for share in self._shares if share.taken] or self._shares, key=_booked)
        self._turn += 1
        for each in self._shares:
            each.beside = 0
        self._first = (share, need)
        self.reserved = job_id

    def forgo(self) -> None:
        """Drop the reservation."""
        self._first = self.reserved = None


def _booked(share: Share) -> int:
    return share.booked
