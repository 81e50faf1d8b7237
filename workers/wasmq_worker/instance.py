"""One isolated instance: a store, its fuel and memory, one call, one outcome. Never used again.

The call runs on a fibre of its own. Each `turn` lets it spend one quantum; between turns it is suspended and costs a
few kilobytes. A start function is metered and sliced like any other guest code.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from wasmq_worker import capi, traps, values
from wasmq_worker.buffers import ERROR, EXTERN, EXTERN_OF, FUEL, INSTANCE, NAME, NAME_LENGTH, NO_POINTERS, TRAP, VALUES
from wasmq_worker.callbacks import stage
from wasmq_worker.engine import (
    COUNTED_MEMORIES,
    COUNTED_SLICE,
    LEAST_SLICE,
    LINKED_TABLES,
    PAGE,
    QUICK_SLICE,
    SLOW_SLICE,
    TABLE_ELEMENTS,
    TABLES,
    one_line,
)
from wasmq_worker.guest import Guest, RefuellableGuest
from wasmq_worker.memories import NO_MEMORY, Account
from wasmq_worker.meter import Meter
from wasmq_worker.protocol import STARVED, Assignment, Ended, Printed, Program

if TYPE_CHECKING:
    from wasmq_worker.buffers import Buffers
    from wasmq_worker.linking import Linked
    from wasmq_worker.mapped import Module

# The calls that every job makes, looked up once.
_future_poll = capi.future_poll
_future_delete = capi.future_delete
_store_new = capi.store_new
_store_context = capi.store_context
_store_limiter = capi.store_limiter
_set_fuel = capi.set_fuel
_get_fuel = capi.get_fuel
_yield_every = capi.yield_every
_instantiate = capi.instantiate
_export_nth = capi.export_nth
_call_async = capi.call_async
_store_delete = capi.store_delete

# How a line ends that says that the process has no memory left: ours, and the engine's with the kernel's number.
_NO_MEMORY: Final = (NO_MEMORY, "(os error 12)")
_ENDLESS: Final = 2**31
_NO_VALUES: Final = values.Layout((), ())
NOTHING: Final = Program(("program",), {}, b"", {}, {}, (), 0, deterministic=False)
"""What a guest sees whose job says nothing of the world."""

_pointers = struct.Struct("<QQ")
_u64 = struct.Struct("<Q")


class Step(IntEnum):
    """What an instance's future does."""

    INSTANTIATING = 0
    INITIALISING = 1
    CALLING = 2


class Instance:
    """One job being run. `begin`, then `turn` until it returns True and `finish`, or `stop` it between turns.

    `polled` is the fuel of all slices that it has spent whole. `guest` is what its imports know of it, None without
    imports. `meter` is there when it can be refuelled, and `suspended` says that it has spent its cap and waits for
    that; `polled` is then exact.
    """

    __slots__ = (
        "_account",
        "_address",
        "_buffer",
        "_context",
        "_future",
        "_kept",
        "_layout",
        "_longest",
        "_position",
        "_slice",
        "_slices",
        "_step",
        "_store",
        "assignment",
        "deadline",
        "guest",
        "meter",
        "module",
        "polled",
        "started",
        "suspended",
    )

    def __init__(self, assignment: Assignment, module: Module | Linked, now: float) -> None:
        self.assignment = assignment
        self.started = now
        self.deadline = now + assignment.timeout
        self.polled = 0
        self.module = module
        module.live += 1
        self._position, self._layout = module.calls[assignment.signature]
        self.guest: Guest | None = None
        self.meter = Meter(assignment.fuel) if assignment.refuellable else None
        self.suspended = False
        self._account: Account | None = None
        self._store: int | None = None
        self._future: int | None = None
        self._step = Step.INSTANTIATING

    def begin(self, buffers: Buffers, quantum: int, now: float) -> Ended | None:
        """Make the store and the instance and set up the call; returns the outcome if it ends here already."""
        module, assignment, layout = self.module, self.assignment, self._layout
        description = module.description
        self._cut(quantum)
        if description.memory > assignment.memory:
            return self._beyond(now)
        if module.hosted:
            try:
                self.guest = self._guest()
            except ValueError as wrong:
                return self._ended("trapped", now, error=f"trapped: {wrong}", trap="host")
            stage.guest = self.guest
        self._kept = kept = buffers.take(layout.params + layout.results)
        self._buffer, self._address = kept[0], kept[1]
        self._buffer[TRAP : TRAP + 16] = NO_POINTERS
        self._store = store = _store_new(module.engine.pointer, None, None)
        self._context = context = _store_context(store)
        if module.memories is not None:
            self._account = module.memories.account = Account(assignment.memory)
        self._limit(store)
        if self.meter is None:
            _set_fuel(context, assignment.fuel)
        else:
            self.meter.fill(context)
        return self._instantiate(now)

    def _guest(self) -> Guest:
        """Return what the imports are to know of it. Raises `ValueError` for a world that cannot be."""
        assignment, prices = self.assignment, self.module.prices
        program = assignment.program or NOTHING
        if self.meter is not None:
            return RefuellableGuest(program, assignment.output, prices, self.meter, self._slice, assignment.host_calls)
        return Guest(program, assignment.output, prices, assignment.fuel, self._slice, assignment.host_calls)

    def _limit(self, store: int) -> None:
        """Tell the engine what the store may hold; memories that are counted are bounded by their account."""
        module = self.module
        if self._account is None:
            _store_limiter(store, self.assignment.memory, TABLE_ELEMENTS, 1, TABLES, 1)
        else:
            tables = TABLES if module.instances == 1 else LINKED_TABLES
            _store_limiter(store, -1, TABLE_ELEMENTS, module.instances, tables, COUNTED_MEMORIES)

    def _instantiate(self, now: float) -> Ended | None:
        """Make the instance, or begin to; returns the outcome if that fails at once."""
        address, context, buffer = self._address, self._context, self._buffer
        front = cast("Module", self.module).front(held=self.meter is not None)
        if front.pre is None:
            front.ready()
        if front.slow_start:
            self._begin_slice()
            self._future = capi.instantiate_async(
                front.pre, context, address + INSTANCE, address + TRAP, address + ERROR
            )
            return None
        error = _instantiate(front.pre, context, address + INSTANCE, address + TRAP)
        (trap,) = _u64.unpack_from(buffer, TRAP)
        if error or trap:
            return self._failed(trap, error, now)
        self._begin_slice()
        self._advance()
        return None

    def _begin_slice(self) -> None:
        """Have the instance yield when it has spent a slice from here."""
        if self.meter is None:
            _yield_every(self._context, self._slice)
        else:
            self.meter.begin_slice(self._slice)

    def turn(self, until: float, *, alone: bool = False) -> bool:
        """Spend a quantum, in several slices if growth is counted; returns whether the call has come to its end.

        After `until` on the monotonic clock no further slice begins; `alone`, with nobody else waiting for a turn,
        quantum follows quantum until then. Ask `finish` for the outcome at the end. When `guest.wake` is set the
        instance is parked: it wants no turn before then. When it is `suspended`, it wants none before it is refuelled.
        """
        slices = _ENDLESS if alone else self._slices
        guest = self.guest
        if guest is not None:
            stage.guest = guest
        began = monotonic() if slices > 1 else 0.0
        for _ in range(slices):
            if _future_poll(self._future):
                if self._step == Step.CALLING or any(self._buffer[TRAP : TRAP + 16]):
                    return True
                _future_delete(self._future)
                self._future = None
                self._advance()
                if self._future is None:
                    return True
            elif self.meter is not None:
                if not self._goes_on(self.meter):
                    return False
            elif guest is not None:
                if guest.wake is not None:
                    self.polled += guest.rest(self._context)
                    return False
                guest.renew(self._context)
                self.polled += guest.over
                guest.over = 0
            if self.meter is None:
                self.polled += self._slice
            if slices > 1:
                now = monotonic()
                if self._account is not None:
                    self._adapt(now - began)
                if now >= until:
                    break
                began = now
        return False

    def _goes_on(self, meter: Meter) -> bool:
        """Begin another slice of an instance that can be refuelled; False when it is parked, or suspended now."""
        meter.look()
        self.polled = meter.bill
        if meter.dry:
            self.suspended = True
            return False
        meter.begin_slice(self._slice)
        return self.guest is None or self.guest.wake is None

    def refuel(self, fuel: int) -> bool:
        """Raise the cap to `fuel` in all, if that is more; returns whether a suspended instance can go on now."""
        meter = self.meter
        assert meter is not None
        meter.cap = max(meter.cap, fuel)
        if not self.suspended or meter.dry:
            return False
        self.suspended = False
        self.polled = meter.bill
        meter.begin_slice(self._slice)
        return True

    def postpone(self, seconds: float) -> None:
        """Take it that the instance began so much later: its time did not run."""
        self.started += seconds
        self.deadline += seconds

    def _cut(self, quantum: int) -> None:
        """Decide how many slices a turn has, and of how much fuel."""
        self._slice = self._longest = quantum if self.module.memories is None else min(quantum, COUNTED_SLICE)
        self._slices = quantum // self._slice

    def _adapt(self, took: float) -> None:
        """Have slices hold less while the guest does things that fuel does not weigh, such as growing its memory.

        How a call is cut into slices changes nothing that it spends.
        """
        if took > SLOW_SLICE:
            fuel = max(LEAST_SLICE, self._slice // 8)
        elif took < QUICK_SLICE:
            fuel = min(self._longest, self._slice * 2)
        else:
            return
        if fuel != self._slice:
            self._slice = fuel
            self._begin_slice()
            if self.guest is not None:
                self.guest.resize(fuel)

    def finish(self, now: float) -> Ended:
        """Return the outcome of a call that has come to its end."""
        if self._future is not None:
            _future_delete(self._future)
            self._future = None
        buffer = self._buffer
        trap, error = _pointers.unpack_from(buffer, TRAP)
        if trap or error:
            return self._failed(trap, error, now)
        return Ended(
            self.assignment.ticket,
            "succeeded",
            self._layout.read(buffer, self._address, VALUES),
            self._spent(),
            self._memory(),
            now - self.started,
            printed=self._printed(),
        )

    def stop(self, status: str, error: str, now: float) -> Ended:
        """End a call between two turns, and return the outcome with what it has spent until now."""
        if self._future is not None:
            _future_delete(self._future)
            self._future = None
        return self._ended(status, now, error=error)

    def close(self, buffers: Buffers) -> None:
        """Give back everything the instance holds."""
        if self._store is not None:
            _store_delete(self._store)
            self._store = None
            buffers.give(self._kept)
        self.module.release()

    def _advance(self) -> None:
        """Set up the next call: a reactor's own initialisation first, then what the job asks for.

        Where that fails, there is no future and the buffer holds the trap or the error.
        """
        initialise = self.module.description.initialise
        if self._step == Step.INSTANTIATING and initialise not in (-1, self._position):
            self._initialise(initialise)
            return
        self._step = Step.CALLING
        layout = self._layout
        if layout.params:
            layout.write(self._buffer, VALUES + layout.results * values.SIZE, self.assignment.args)
        self._call(self._position, layout)

    def _initialise(self, position: int) -> None:
        self._step = Step.INITIALISING
        self._call(position, _NO_VALUES)

    def _call(self, position: int, layout: values.Layout) -> None:
        address = self._address
        _export_nth(
            self._context,
            address + INSTANCE,
            position,
            address + NAME,
            address + NAME_LENGTH,
            address + EXTERN,
        )
        self._future = _call_async(
            self._context,
            address + EXTERN_OF,
            address + VALUES + layout.results * values.SIZE,
            layout.params,
            address + VALUES,
            layout.results,
            address + TRAP,
            address + ERROR,
        )

    def _beyond(self, now: float) -> Ended:
        """Return the outcome of a job whose memories are above its cap before they have grown."""
        return self._ended(
            "out_of_memory",
            now,
            error=f"out of memory: the module starts with {self.module.description.memory} bytes of memory, "
            f"the cap is {self.assignment.memory}",
        )

    def _failed(self, trap: int, error: int | None, now: float) -> Ended:
        guest = self.guest
        if guest is not None and (guest.ended or guest.failure):
            if trap:
                capi.trap_delete(trap)
            elif error:
                capi.error_delete(error)
            if guest.failure:
                return self._ended("trapped", now, error=f"trapped: {guest.failure}", trap=guest.failure_code)
            return self._exited(guest.exit_code, now)
        if not trap:
            message = one_line(capi.take_error(error)) if error else "unknown error"
            message = self._where() + message
            if self._refused():
                return self._ended("out_of_memory", now, error=self._over_memory(message))
            if message.endswith(_NO_MEMORY):
                return self._ended(STARVED, now, error=message)
            code = (
                traps.UNCAUGHT
                if message.endswith(traps.THROWN)
                else "instantiation"
                if self._step == Step.INSTANTIATING
                else "other"
            )
            return self._ended("trapped", now, error=f"trapped: {message}", trap=code)
        code, message, backtrace = traps.take_trap(trap)
        message = self._where() + message
        if code == traps.OUT_OF_FUEL:
            return self._ended("out_of_fuel", now, error=f"out of fuel: spent all {self.assignment.fuel} units")
        if self._refused():
            return self._ended("out_of_memory", now, error=self._over_memory(message), trap=code, backtrace=backtrace)
        if code == "other" and message.endswith(_NO_MEMORY):
            return self._ended(STARVED, now, error=message)
        return self._ended("trapped", now, error=f"trapped: {message}", trap=code, backtrace=backtrace)

    def _where(self) -> str:
        """Return the beginning of a line that says what went wrong, if more than the job's own module is there."""
        return ""

    def _exited(self, code: int, now: float) -> Ended:
        if code == 0 and not self._layout.results:
            return self._ended("succeeded", now, exit_code=0)
        return self._ended("exited", now, error=f"exited with code {code}", exit_code=code)

    def _printed(self) -> Printed | None:
        if self.guest is None:
            return None
        world, program = self.guest.world, self.assignment.program
        return Printed(
            bytes(world.stdout),
            bytes(world.stderr),
            world.stdout_truncated,
            world.stderr_truncated,
            world.collect(program.collect) if program is not None else {},
        )

    def _refused(self) -> bool:
        """Return whether a growth was refused for the cap; of a pooled memory all we know is whether it is full."""
        if self._account is not None:
            return self._account.refused
        size = self._memory()
        return size > self.module.description.memory and size + PAGE > self.assignment.memory

    def _over_memory(self, message: str) -> str:
        cap = self.assignment.memory
        return f"out of memory: a growth over the cap of {cap} bytes was refused, then {message}"

    def _ended(self, status: str, now: float, **rest: object) -> Ended:
        assignment = self.assignment
        return Ended(
            assignment.ticket,
            status,
            fuel_used=self._spent(),
            memory_peak=self._memory(),
            ran=max(0.0, now - self.started),
            printed=self._printed(),
            **rest,  # type: ignore[arg-type]
        )

    def _spent(self) -> int:
        if self._store is None:
            return 0
        if self.meter is not None:
            self.meter.look()
            return self.meter.bill
        _get_fuel(self._context, self._address + FUEL)
        spent: int = self.assignment.fuel - _u64.unpack_from(self._buffer, FUEL)[0]
        return spent

    def _memory(self) -> int:
        """Return the size of the memories now, which is their peak: a memory never shrinks."""
        if self._account is not None:
            return self._account.used
        description = self.module.description
        if self._store is None or description.exported_memory < 0 or self._step == Step.INSTANTIATING:
            return description.memory if self._store is not None else 0
        address = self._address
        _export_nth(
            self._context,
            address + INSTANCE,
            description.exported_memory,
            address + NAME,
            address + NAME_LENGTH,
            address + EXTERN,
        )
        size: int = capi.memory_data_size(self._context, address + EXTERN_OF)
        return size
