"""Who starts next: the ready jobs, those that wait for their time, and how many there are. In memory, without I/O.

Each tenant has a lane. Between lanes the smallest start tag goes first; within one, the job with the highest priority,
then the earliest deadline, then the oldest. A lane's tags say only when its turns come, not whose they are: a job that
starts before another of its lane takes the earlier tag and leaves the other its own, and `order` says which tag a job
has now. So priorities and deadlines change nobody's share, but order what each tenant has of it.

What a job is expected to use is in the tags behind its own. When it has used something else, all tags of its lane move
by the difference; so what is kept of a waiting job's `order` is its distance from the lane's shift.

Stores that have one owner decide here and record what was decided. One thread at a time may change a queue; `queued`,
`running`, `earliest` and `due` may be read by any.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Final, Generic, TypeAlias, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from wasmq.job import Job, State

_COMPACT_ABOVE: Final = (
    1_000  # items that a heap may hold beyond twice the jobs it is for before stale ones are swept out
)
_LANE_COMPACT_ABOVE: Final = 64  # the same for the heaps of one lane, of which there may be many


class Entry:
    """One unfinished job. `age` orders jobs by when they were put; `ready_at` is when it may start."""

    __slots__ = ("age", "job", "ready_at", "state", "tag_ticket", "ticket")

    def __init__(self, job: Job, age: int, ready_at: float) -> None:
        self.job = job
        self.age = age
        self.ready_at = ready_at
        self.state: State = "queued"
        self.ticket = 0
        self.tag_ticket = 0


EntryT = TypeVar("EntryT", bound=Entry)
_Rank: TypeAlias = tuple[int, float, int]
_Tag: TypeAlias = tuple[float, int]  # between equal ones, whose job is older


def rank(job: Job, age: int) -> _Rank:
    """Return what a tenant's jobs are sorted by: who starts first is smaller."""
    return -job.priority, math.inf if job.deadline is None else job.deadline, age


def _always(_job: Job, _now: float) -> None:
    """Let every job start."""


def _unnoted(_entry: Entry) -> None:
    """Note nothing."""


class _Lane(Generic[EntryT]):
    """A tenant's ready jobs, and the tags that they have between them."""

    __slots__ = ("count", "held_until", "jobs", "later", "shift", "tags", "tenant", "ticket")

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.count = 0
        self.jobs: list[tuple[_Rank, int, EntryT]] = []
        self.tags: list[tuple[_Tag, int, EntryT]] = []
        self.ticket = 0
        self.shift = 0.0
        self.later = False
        """Whether its turn may be later than it stands in the heap."""
        self.held_until: float | None = None

    def first(self) -> EntryT:
        """Return the job that starts next."""
        jobs = self.jobs
        while jobs[0][2].ticket != jobs[0][1]:
            heapq.heappop(jobs)
        return jobs[0][2]

    def tag(self) -> _Tag:
        """Return the smallest tag."""
        tags = self.tags
        while tags[0][2].tag_ticket != tags[0][1]:
            heapq.heappop(tags)
        order, age = tags[0][0]
        return order + self.shift, age

    def compact(self) -> None:
        """Sweep out stale items when they are many."""
        most = 2 * self.count + _LANE_COMPACT_ABOVE
        if len(self.jobs) > most:
            self.jobs = [item for item in self.jobs if item[2].ticket == item[1]]
            heapq.heapify(self.jobs)
        if len(self.tags) > most:
            self.tags = [item for item in self.tags if item[2].tag_ticket == item[1]]
            heapq.heapify(self.tags)


class Queue(Generic[EntryT]):
    """The lanes, a heap of them by their smallest tags, and heaps of what waits for its time and of the longest wait.

    Heaps are not searched: an item counts only while its entry or lane has its ticket, and the others are dropped when
    they come up. `start` is asked before a job starts: None lets it, else its whole lane is held until that time, or
    until it is freed. `changing` is told of each entry that a claim is about to change.
    """

    def __init__(
        self,
        start: Callable[[Job, float], float | None] = _always,
        changing: Callable[[EntryT], None] = _unnoted,
    ) -> None:
        self.queued = 0
        self.running = 0
        self.earliest: float | None = None
        """When the job that waits longest could start, or will be able to."""
        self.due: float | None = None
        """When the next of those becomes due that waited for their time when last looked at."""
        self._start = start
        self._changing = changing
        self._ticket = 0
        self._lanes: dict[str, _Lane[EntryT]] = {}
        self._turns: list[tuple[float, int, int, _Lane[EntryT]]] = []
        self._held: list[tuple[float, int, _Lane[EntryT]]] = []
        self._delayed: list[tuple[float, int, EntryT]] = []
        self._waits: list[tuple[float, int, EntryT]] = []

    def enter(self, entry: EntryT, now: float) -> None:
        """Count a job that is queued or running, and line it up if it is queued."""
        if entry.state == "running":
            self.running += 1
            return
        self.queued += 1
        self._ticket = entry.ticket = self._ticket + 1
        heapq.heappush(self._waits, (entry.ready_at, entry.ticket, entry))
        self._line_up(entry, now)
        self._tidy()

    def leave(self, entry: EntryT) -> None:
        """Forget a job that is queued or running."""
        if entry.state == "running":
            self.running -= 1
            return
        self.queued -= 1
        entry.ticket = 0
        if entry.tag_ticket:
            entry.tag_ticket = 0
            lane = self._lanes[entry.job.tenant]
            lane.later = True
            self._take(lane)
            lane.compact()
        self._tidy()

    def claim(self, limit: int, now: float, passing: Collection[str] = ()) -> list[EntryT]:
        """Take up to `limit` jobs that are due, the lanes by their tags; each is running its next attempt.

        Tenants that are `passing` let the others go first, and keep their tags.
        """
        self._wake(now)
        passed = []
        claimed: list[EntryT] = []
        turns = self._turns
        while turns and len(claimed) < limit:
            order, _, ticket, lane = turns[0]
            if lane.ticket != ticket:
                heapq.heappop(turns)
                continue
            if lane.later:
                # Whose turn this was has left, or its tag has moved.
                lane.later = False
                heapq.heapreplace(turns, (*lane.tag(), ticket, lane))
                continue
            if passing and lane.tenant in passing:
                passed.append(heapq.heappop(turns))
                continue
            entry = lane.first()
            until = self._start(entry.job, now)
            if until is not None:
                heapq.heappop(turns)
                self._hold(lane, until)
                continue
            self._begin(lane, entry, order)
            claimed.append(entry)
            if lane.count:
                heapq.heapreplace(turns, (*lane.tag(), ticket, lane))
            else:
                heapq.heappop(turns)
        for turn in passed:
            heapq.heappush(turns, turn)
        self.queued -= len(claimed)
        self.running += len(claimed)
        self._tidy()
        return claimed

    def release(self, entry: EntryT, *, charged: bool, due: float, now: float) -> None:
        """Line a running job up again; uncharged, the start just made does not count."""
        self.leave(entry)
        if not charged:
            entry.job = msgspec.structs.replace(entry.job, returned=entry.job.returned + 1)
        entry.state = "queued"
        entry.ready_at = due
        self.enter(entry, now)

    def shift(self, tenant: str, distance: float) -> None:
        """Move the tags of a tenant's ready jobs, in fuel."""
        lane = self._lanes.get(tenant)
        if lane is not None and distance:
            lane.shift += distance
            lane.later = True
            if distance < 0 and lane.held_until is None:
                self._queue_up(lane)

    def tag_of(self, entry: EntryT) -> float:
        """Return a job's tag as it is now."""
        return entry.job.order + self._lanes[entry.job.tenant].shift if entry.tag_ticket else entry.job.order

    def free(self, tenant: str) -> None:
        """Look again at a tenant's jobs that have been held."""
        lane = self._lanes.get(tenant)
        if lane is not None and lane.held_until is not None:
            lane.held_until = None
            self._queue_up(lane)

    def next_due(self, now: float) -> float | None:
        """Return when the next job or lane that waits for its time may go on, or None."""
        self._wake(now)
        self._tidy()
        return self.due

    def longest_wait(self, now: float) -> float:
        """Return for how many seconds the job that waits longest could have started; 0 when none waits."""
        earliest = self.earliest
        return 0.0 if earliest is None else max(0.0, now - earliest)

    def _line_up(self, entry: EntryT, now: float) -> None:
        job = entry.job
        if entry.ready_at > now:
            heapq.heappush(self._delayed, (entry.ready_at, entry.ticket, entry))
            return
        lane = self._lanes.get(job.tenant)
        if lane is None:
            lane = self._lanes[job.tenant] = _Lane(job.tenant)
        if lane.shift:
            job = entry.job = msgspec.structs.replace(job, order=job.order - lane.shift)
        entry.tag_ticket = entry.ticket
        heapq.heappush(lane.jobs, (rank(job, entry.age), entry.ticket, entry))
        heapq.heappush(lane.tags, ((job.order, entry.age), entry.ticket, entry))
        lane.count += 1
        # Otherwise the lane stands where its smallest tag has it.
        if lane.tags[0][2] is entry and lane.held_until is None:
            self._queue_up(lane)

    def _begin(self, lane: _Lane[EntryT], entry: EntryT, tag: float) -> None:
        """Start a job with its lane's smallest tag, and leave its own to the one whose tag that was."""
        _, _, owner = heapq.heappop(lane.tags)
        self._changing(entry)
        if owner is not entry:
            self._changing(owner)
            self._ticket = owner.tag_ticket = self._ticket + 1
            owner.job = msgspec.structs.replace(owner.job, order=entry.job.order)
            heapq.heappush(lane.tags, ((owner.job.order, owner.age), owner.tag_ticket, owner))
        entry.ticket = entry.tag_ticket = 0
        entry.state = "running"
        entry.job = msgspec.structs.replace(entry.job, attempt=entry.job.attempt + 1, order=tag)
        heapq.heappop(lane.jobs)
        self._take(lane)

    def _take(self, lane: _Lane[EntryT]) -> None:
        """Note that a job has left its lane; one that is empty is forgotten."""
        lane.count -= 1
        if not lane.count:
            lane.ticket = 0
            lane.held_until = None
            del self._lanes[lane.tenant]

    def _queue_up(self, lane: _Lane[EntryT]) -> None:
        self._ticket = lane.ticket = self._ticket + 1
        lane.later = False
        heapq.heappush(self._turns, (*lane.tag(), lane.ticket, lane))

    def _hold(self, lane: _Lane[EntryT], until: float) -> None:
        self._ticket = lane.ticket = self._ticket + 1
        lane.held_until = until
        if until < math.inf:
            heapq.heappush(self._held, (until, lane.ticket, lane))

    def _wake(self, now: float) -> None:
        """Move the jobs whose time has come to the ready ones, and look again at lanes held until now."""
        while self._delayed and self._delayed[0][0] <= now:
            _, ticket, entry = heapq.heappop(self._delayed)
            if entry.ticket == ticket:
                self._line_up(entry, now)
        while self._held and self._held[0][0] <= now:
            _, ticket, lane = heapq.heappop(self._held)
            if lane.ticket == ticket:
                self.free(lane.tenant)

    def _tidy(self) -> None:
        """Let no stale item stand first, nor many anywhere."""
        for heap in (self._waits, self._delayed):
            while heap and heap[0][2].ticket != heap[0][1]:
                heapq.heappop(heap)
        while self._held and self._held[0][2].ticket != self._held[0][1]:
            heapq.heappop(self._held)
        self.earliest = self._waits[0][0] if self._waits else None
        self.due = self._delayed[0][0] if self._delayed else None
        if self._held:
            self.due = self._held[0][0] if self.due is None else min(self.due, self._held[0][0])
        most = 2 * self.queued + _COMPACT_ABOVE
        if len(self._waits) > most:
            self._waits = _live(self._waits)
        if len(self._delayed) > most:
            self._delayed = _live(self._delayed)
        if len(self._turns) > 2 * len(self._lanes) + _COMPACT_ABOVE:
            self._turns = [item for item in self._turns if item[3].ticket == item[2]]
            heapq.heapify(self._turns)
        if len(self._held) > 2 * len(self._lanes) + _COMPACT_ABOVE:
            self._held = [item for item in self._held if item[2].ticket == item[1]]
            heapq.heapify(self._held)


def _live(heap: list[tuple[float, int, EntryT]]) -> list[tuple[float, int, EntryT]]:
    kept = [item for item in heap if item[2].ticket == item[1]]
    heapq.heapify(kept)
    return kept
