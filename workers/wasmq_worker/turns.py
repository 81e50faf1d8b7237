"""The turn loop: look at what came, end what is over its time, let the next instance spend a quantum, tell."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections import deque
from time import monotonic, thread_time
from typing import TYPE_CHECKING, Any, Final, assert_never

from wasmq_worker.begun import Begun
from wasmq_worker.buffers import Buffers
from wasmq_worker.components.instance import Component
from wasmq_worker.engine import Engine, EngineError
from wasmq_worker.imports import Imports
from wasmq_worker.linking import Linked, Missing
from wasmq_worker.mapped import Module
from wasmq_worker.memories import Memories
from wasmq_worker.protocol import (
    ASK_WINDOW,
    AT_ONCE,
    QUANTUM_BUCKETS,
    Answer,
    Answers,
    Asks,
    Assignment,
    Cancel,
    Downward,
    Ended,
    GiveUp,
    Link,
    Map,
    Outcomes,
    Pulse,
    Refuel,
    Setup,
    Start,
    Underway,
    Unmap,
    Unmappable,
    Unwatch,
    Watch,
)
from wasmq_worker.shares import Shares
from wasmq_worker.suspended import Suspensions, spent
from wasmq_worker.watched import GLANCE_EVERY, Watched

if TYPE_CHECKING:
    from wasmq_worker.channel import Channel
    from wasmq_worker.instance import Instance

LOOK_EVERY: Final = 200e-6
"""Seconds between two looks at the channel while there is work: a look costs about a microsecond."""
TURN: Final = 1e-3
"""Seconds. A quantum of ordinary code takes a fraction of it. What takes longer did things that fuel does not weigh,
such as growing or filling memory: its share is charged for the time, at `_NOMINAL` fuel a second, never the bill.
That is well below what cores do, because the time since the last look at the channel has turns of others in it."""
_NOMINAL: Final = {"native": 5e8, "interpreter": 5e7}
TELL_EVERY: Final = 1e-3
"""Seconds between two frames of outcomes while there is more work: a frame costs both sides more than an outcome."""
TELL_AFTER: Final = 64
"""Outcomes that are told together while there is more work."""
TELL_SOON: Final = 100e-6
"""Seconds between two frames while one has the last outcome of its share, which has nothing else to do meanwhile."""

HEAVY: Final = 16 * 2**20
"""Bytes of output and files that go into one frame, unless a single job has more."""


class Turns:
    """Runs the jobs of one worker until the channel closes."""

    def __init__(self, setup: Setup, channel: Channel) -> None:
        self._channel = channel
        self._setup = setup
        self._quantum = setup.quantum
        self._nominal = _NOMINAL[setup.engine]
        self._busy = thread_time()
        self._told = 0.0
        self._awaited = False  # whether an outcome is untold whose share has nothing else here
        self._memories = Memories()
        self._engine = Engine(setup.engine, instances=setup.instances)  # type: ignore[arg-type]
        self._counting: Engine | None = None
        self._mapping: Engine | None = None
        self._imports = Imports(setup.host_bytes)
        self._artifacts: dict[int, Module] = {}
        self._links: dict[int, Link] = {}
        self._programs: dict[int, Module | Linked] = {}
        self._unmappable: dict[int, str] = {}
        self._shares = Shares(setup.quantum)
        self._buffers = Buffers()
        self._live: dict[int, Instance] = {}
        self._deadlines: list[tuple[float, int]] = []
        self._sleepers: list[tuple[float, int]] = []
        self._parked: set[int] = set()
        self._suspended = Suspensions(setup.suspended)
        self._asking: deque[int] = deque()
        self._out = 0  # bytes of host calls that are out
        self._ended: list[Ended] = []
        self._weight = 0
        self._underway: list[int] = []
        self._begun = Begun()
        self._quanta = [0] * (len(QUANTUM_BUCKETS) + 1)
        self._quanta_total = 0.0
        self._watched = Watched()
        self._glanced = 0.0

    def run(self, frames: list[Downward]) -> None:
        """Obey the first `frames`, then take turns until the scheduler's end is gone: then raises `Closed`."""
        shares, channel = self._shares, self._channel
        now = looked = pulsed = monotonic()
        for frame in frames:
            self._obey(frame, now)
        while True:
            if not shares.waiting:
                self._tell()
                channel.wait(self._idle_for(monotonic(), pulsed))
                now = monotonic()
            if not shares.waiting or now - looked >= LOOK_EVERY:
                looked = now
                self._busy = thread_time()
                for frame in channel.receive():
                    self._obey(frame, now)
                if now - pulsed >= self._setup.pulse:
                    pulsed = now
                    self._pulse()
                elif (
                    self._asking
                    or self._suspended.untold
                    or ((self._ended or self._underway) and now - self._told >= TELL_EVERY)
                ):
                    self._tell()
                if self._watched.any and now - self._glanced >= GLANCE_EVERY:
                    self._glance(now)
            if self._deadlines and self._deadlines[0][0] <= now:
                self._expire(now)
            if self._sleepers and self._sleepers[0][0] <= now:
                self._wake(now)
            if shares.waiting:
                now = self._turn(now)
                if self._awaited and now - self._told >= TELL_SOON:
                    self._tell()

    def _turn(self, now: float) -> float:
        """Let the next instance have its turn; returns when it was over."""
        shares = self._shares
        instance, first = shares.take()
        ended: Ended | None = None
        before = instance.polled
        if first:
            self._begun.note(instance.assignment.ticket)
            if now >= instance.deadline:
                ended = instance.stop("timed_out", _late(instance), now)
            else:
                ended = instance.begin(self._buffers, self._quantum, now)
        if ended is None:
            if shares.waiting:
                done = instance.turn(now + TURN)
            else:
                done = instance.turn(min(now + LOOK_EVERY, instance.deadline), alone=True)
            after = monotonic()
            if done:
                ended = instance.finish(after)
            elif instance.suspended and (line := self._suspended.obstacle(instance)) is not None:
                ended = instance.stop("out_of_fuel", line, after)
        else:
            after = monotonic()
        took = after - now
        self._quanta[bisect_left(QUANTUM_BUCKETS, took)] += 1
        self._quanta_total += took
        fuel = instance.polled - before if ended is None else max(ended.fuel_used - before, 0)
        if took > TURN:
            # Since the last look at the channel little else has run. What others took of the core does not count.
            fuel = max(fuel, int(min(took, thread_time() - self._busy) * self._nominal))
        guest = instance.guest
        parked = instance.suspended or (guest is not None and guest.wake is not None)
        shares.charge(instance, fuel, first=first, more=ended is None and not parked)
        if ended is not None:
            self._drop(instance, ended)
            return after
        if first:
            self._expect(instance)
            self._underway.append(instance.assignment.ticket)
        if instance.suspended:
            self._suspended.add(instance, after)
        elif parked:
            self._park(instance)
        return after

    def _park(self, instance: Instance) -> None:
        """Note when a parked instance wants to go on, or what it asks; until then it costs nobody a turn."""
        assert instance.guest is not None
        assert instance.guest.wake is not None
        ticket = instance.assignment.ticket
        self._parked.add(ticket)
        if instance.guest.question is not None:
            self._asking.append(ticket)
        if instance.guest.wake < instance.deadline:
            heapq.heappush(self._sleepers, (instance.guest.wake, ticket))

    def _wake(self, now: float) -> None:
        while self._sleepers and self._sleepers[0][0] <= now:
            _, ticket = heapq.heappop(self._sleepers)
            if ticket in self._parked:
                self._parked.discard(ticket)
                self._shares.rejoin(self._live[ticket])

    def _expect(self, instance: Instance) -> None:
        """Note the deadline of an instance, and forget those that do not count any more before they are the most."""
        if len(self._deadlines) > 2 * len(self._live) + 1_000:
            live = self._live
            self._deadlines = [
                (deadline, ticket)
                for deadline, ticket in self._deadlines
                if ticket in live and live[ticket].deadline == deadline
            ]
            heapq.heapify(self._deadlines)
        heapq.heappush(self._deadlines, (instance.deadline, instance.assignment.ticket))

    def _drop(self, instance: Instance, ended: Ended) -> None:
        instance.close(self._buffers)
        del self._live[instance.assignment.ticket]
        if weight := ended.size():
            if self._weight + weight > HEAVY:
                self._tell()
            self._weight += weight
        if self._shares.is_idle(instance):
            self._awaited = True
        self._ended.append(ended)
        if instance.guest is not None and (question := instance.guest.question) is not None and question.sent:
            self._out -= question.size
        if len(self._ended) >= TELL_AFTER:
            self._tell()

    def _obey(self, frame: Downward, now: float) -> None:
        match frame:
            case Start():
                for assignment in frame.jobs:
                    self._start(assignment, now)
            case Map():
                self._map(frame)
            case Link():
                self._links[frame.module] = frame
            case Cancel():
                for ticket in frame.tickets:
                    if (instance := self._live.get(ticket)) is not None:
                        self._stop(instance, "cancelled", "cancelled while it ran", now)
            case Refuel():
                self._refuel(frame, now)
            case GiveUp():
                for ticket in frame.tickets:
                    if ticket in self._suspended:
                        instance = self._live[ticket]
                        self._stop(instance, "out_of_fuel", spent(instance, frame.reason), now)
            case Answers():
                for answer in frame.answers:
                    self._answer(answer)
            case Unmap():
                self._unmap(frame.module)
            case Watch():
                self._watched.add(frame)
                if frame.fuel == AT_ONCE:
                    self._glanced = 0.0
            case Unwatch():
                self._watched.remove(frame.watches)
            case Setup():
                raise ValueError("a second Setup came")
            case _:
                assert_never(frame)

    def _answer(self, answer: Answer) -> None:
        """Let an instance go on with what its host call came to; it may have ended meanwhile."""
        instance = self._live.get(answer.ticket)
        if instance is None or (guest := instance.guest) is None:
            return
        question = guest.question
        if question is None or question.call != answer.call or not question.sent or guest.answer is not None:
            raise ValueError(f"an answer came for call {answer.call} of ticket {answer.ticket}, which is not out")
        guest.answer = answer
        question.sent = False
        self._out -= question.size
        self._parked.discard(answer.ticket)
        self._shares.rejoin(instance)

    def _refuel(self, refuel: Refuel, now: float) -> None:
        """Raise the cap of an instance, which may have ended meanwhile, and let it go on if it was suspended."""
        ticket = refuel.ticket
        instance = self._live.get(ticket)
        if instance is None:
            return
        if instance.meter is None:
            raise ValueError(f"ticket {ticket} is to be refuelled, which cannot be")
        if self._suspended.refuel(instance, refuel.fuel, now):
            self._expect(instance)
            self._shares.rejoin(instance)

    def _start(self, assignment: Assignment, now: float) -> None:
        program = self._programs.get(assignment.module)
        if program is None:
            self._begun.note(assignment.ticket)  # what gets a program ready can end the process too
            try:
                program = self._programs[assignment.module] = self._ready(assignment.module)
            except Missing as missing:
                reason = self._unmappable.get(missing.artifact, "never mapped here")
                self._channel.send(Unmappable(missing.artifact, reason, [assignment.ticket]))
                return
        instance = program.instance(assignment, now)
        self._live[assignment.ticket] = instance
        self._shares.add(instance)

    def _stop(self, instance: Instance, status: str, error: str, now: float) -> None:
        ticket = instance.assignment.ticket
        if ticket in self._suspended:
            self._suspended.release(instance, now)
        elif ticket in self._parked:
            self._parked.discard(ticket)
        else:
            self._shares.remove(instance)
        self._drop(instance, instance.stop(status, error, now))

    def _map(self, frame: Map) -> None:
        engine = self._engine_for(frame)
        try:
            if frame.component is not None:
                artifact: Module = Component(engine, self._memories, frame, frame.component, self._setup.prices)
            else:
                artifact = Module(engine, self._memories, frame, self._imports, self._setup.prices)
        except EngineError as error:
            self._unmappable[frame.module] = str(error)
            return
        self._artifacts[frame.module] = artifact

    def _engine_for(self, frame: Map) -> Engine:
        name: Any = self._setup.engine
        if frame.counted:
            if self._counting is None:
                self._counting = Engine(name, memories=self._memories)
            return self._counting
        if frame.component is None:
            return self._engine
        if self._mapping is None:
            self._mapping = Engine(name)
        return self._mapping

    def _ready(self, number: int) -> Module | Linked:
        """Return what can be run under a number for the first time. Raises `Missing`."""
        link = self._links.get(number)
        if link is not None:
            return Linked(link, self._artifacts)
        artifact = self._artifacts.get(number)
        if artifact is None:
            raise Missing(number)
        try:
            artifact.ready()
        except EngineError as error:
            self._unmappable[number] = str(error)
            raise Missing(number) from None
        return artifact

    def _unmap(self, number: int) -> None:
        self._unmappable.pop(number, None)
        self._links.pop(number, None)
        artifact, program = self._artifacts.pop(number, None), self._programs.pop(number, None)
        if (gone := program or artifact) is not None:
            gone.unmapped = True
            if not gone.live:
                gone.close()

    def _expire(self, now: float) -> None:
        while self._deadlines and self._deadlines[0][0] <= now:
            _, ticket = heapq.heappop(self._deadlines)
            instance = self._live.get(ticket)
            if instance is not None and instance.deadline <= now and ticket not in self._suspended:
                self._stop(instance, "timed_out", _late(instance), now)

    def _idle_for(self, now: float, pulsed: float) -> float:
        until = pulsed + self._setup.pulse
        if self._deadlines:
            until = min(until, self._deadlines[0][0])
        if self._sleepers:
            until = min(until, self._sleepers[0][0])
        if self._watched.any:
            until = min(until, self._glanced + GLANCE_EVERY)
        return max(0.0, until - now)

    def _tell(self) -> None:
        self._told = monotonic()
        if self._ended:
            self._channel.send(Outcomes(self._ended))
            self._ended = []
            self._awaited = False
            self._weight = 0
        if self._underway:
            underway = [ticket for ticket in self._underway if ticket in self._live]
            if underway:
                self._channel.send(Underway(underway))
            self._underway = []
        if self._suspended.untold:
            self._channel.send(self._suspended.news())
        if self._asking:
            self._ask()

    def _ask(self) -> None:
        """Send host calls for which there is room on the way; outcomes go before, or they would be counted twice."""
        asked = []
        while self._asking:
            instance = self._live.get(self._asking[0])
            if instance is not None:
                assert instance.guest is not None
                question = instance.guest.question
                assert question is not None
                if self._out and self._out + question.size > ASK_WINDOW:
                    break
                self._out += question.size
                question.sent = True
                asked.append(question.asked(instance.assignment.ticket))
            self._asking.popleft()
        if asked:
            self._channel.send(Asks(asked))

    def _glance(self, now: float) -> None:
        self._glanced = now
        progress = self._watched.look(self._live)
        if progress is not None:
            self._channel.send(progress)

    def _pulse(self) -> None:
        self._tell()
        fresh = self._shares.fresh
        running = len(self._live) - fresh
        self._channel.send(Pulse(fresh, running, self._quanta, self._quanta_total, len(self._suspended)))
        self._quanta = [0] * len(self._quanta)
        self._quanta_total = 0.0


def _late(instance: Instance) -> str:
    return f"timed out: ran for longer than {instance.assignment.timeout:g} s"
