"""Satisfies what a guest imports: WASI with functions of this process, the rest by asking the embedding program.

Each import is called through a C callback; see `callbacks` and `entries`.
"""

from __future__ import annotations

import ctypes
from ctypes import c_uint32
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from wasmq_worker import capi, entries, values
from wasmq_worker.callbacks import again, end, memory_of, slots_at, stage
from wasmq_worker.engine import check
from wasmq_worker.guest import FOR_EVER, OutOfFuel
from wasmq_worker.hosting import asking
from wasmq_worker.wasi import FUNCTIONS, Sleep

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmq_worker.protocol import HostImport, Map

WASI: Final = b"wasi_snapshot_preview1"
WAITING: Final = frozenset({"poll_oneoff"})
"""The functions that may have to wait."""
MEMORYLESS: Final = frozenset({"proc_exit", "proc_raise", "sched_yield"})
"""The functions that do not touch the guest's memory, of which it then needs none."""

_DIRECT: Final = (capi.linker_define, entries.direct)
_WAITING: Final = (capi.linker_define_async, entries.waiting)
_RAW: Final = 16  # bytes of a wasmtime_val_raw_t

_caller_context = capi.caller_context
_string_at = ctypes.string_at

_i32_result = Struct("<B7xI20x")


def _no_memory(_caller: int, _context: int) -> memoryview:
    return memoryview(b"")


class Imports:
    """The functions behind imports, each known to the engine by a number: see `wasmq_worker.entries`.

    `host_bytes` is the most that one host call may carry each way.
    """

    def __init__(self, host_bytes: int) -> None:
        self._host_bytes = host_bytes
        self._numbers: dict[tuple[str, bool] | HostImport, int] = {}

    def fill(self, linker: int, description: Map, *, held: bool = False) -> None:
        """Define what a module imports. Raises `EngineError`.

        With `held`, a guest can be held in any of the calls until what it costs is covered, which makes them dearer.
        """
        for name in description.wasi:
            params, results, function = FUNCTIONS[name]
            waits = held or name in WAITING
            define, entry = _WAITING if waits else _DIRECT
            number = self._numbers.get((name, waits))
            if number is None:
                if name in WAITING:
                    number = entry.add(_waiting(name, function, params))
                elif held:
                    number = entry.add(_held(name, function, params, bool(results)))
                else:
                    number = entry.add(_direct(name, function, params, bool(results)))
                self._numbers[name, waits] = number
            _define(define, linker, WASI, name.encode(), params, results, entry.address, number)
        for host in description.host:
            number = self._numbers.get(host)
            if number is None:
                number = self._numbers[host] = entries.waiting.add(asking(host, self._host_bytes))
            names = host.module.encode(), host.name.encode()
            _define(capi.linker_define_async, linker, *names, *host.core(), entries.waiting.address, number)


def _define(
    define: Any,
    linker: int,
    module: bytes,
    name: bytes,
    params: tuple[str, ...],
    results: tuple[str, ...],
    address: int,
    number: int,
) -> None:
    type_ = _function_type(params, results)
    try:
        check(define(linker, module, len(module), name, len(name), type_, address, number, None))
    finally:
        capi.functype_delete(type_)


def _function_type(params: tuple[str, ...], results: tuple[str, ...]) -> int:
    vectors = []
    for kinds in (params, results):
        vector = capi.Vector()
        pointers = (ctypes.c_void_p * len(kinds))(*[capi.valtype_new(values.KINDS[kind]) for kind in kinds])
        capi.valtypes_new(ctypes.addressof(vector), len(kinds), ctypes.addressof(pointers))
        vectors.append(vector)
    pointer: int = capi.functype_new(*[ctypes.addressof(vector) for vector in vectors])
    return pointer


def _direct(name: str, function: Callable[..., int], params: tuple[str, ...], returns: bool) -> Callable[..., int]:
    """Return the callback for a function that never waits."""
    unpack = Struct("<" + "".join({"i32": "I12x", "i64": "Q8x"}[kind] for kind in params)).unpack_from
    raw = ctypes.c_char * (_RAW * len(params))
    memory_for = _no_memory if name in MEMORYLESS else memory_of
    last, given = 0, raw()

    def call(_env: int | None, caller: int, slots: int, _count: int) -> int:
        nonlocal last, given
        guest = stage.guest
        if slots != last:
            # A guest that calls in a loop has its arguments at the same place of its stack each time.
            last, given = slots, raw.from_address(slots)
        try:
            context = _caller_context(caller)
            errno = function(guest.world, memory_for(caller, context), *unpack(given))
            guest.pay(context)
        except BaseException as error:
            return end(guest, name, error)
        if returns:
            c_uint32.from_address(slots).value = errno
        return 0

    return call


def _held(name: str, function: Callable[..., int], params: tuple[str, ...], returns: bool) -> Callable[..., None]:
    """Return the callback for a function that never waits, for a guest that may be held until it has paid."""
    unpack = _slots(params).unpack
    size = values.SIZE * len(params)
    memory_for = _no_memory if name in MEMORYLESS else memory_of

    def call(
        _env: int | None,
        caller: int,
        args: int,
        _count: int,
        results: int,
        _results_count: int,
        trap: int,
        continuation: int,
    ) -> None:
        guest = stage.guest
        try:
            context = _caller_context(caller)
            errno = function(guest.world, memory_for(caller, context), *unpack(_string_at(args, size)))
            guest.pay(context)
            if returns:
                _i32_result.pack_into(slots_at(results, 1), 0, values.KINDS["i32"], errno)
        except BaseException as error:
            guest.attempt = None
            ctypes.c_size_t.from_address(trap).value = end(guest, name, error)
        else:
            guest.attempt = lambda: guest.when_paid(guest.go_on)
        again(continuation)

    return call


def _slots(params: tuple[str, ...]) -> Struct:
    """Return where the arguments are that a function which may wait is given."""
    return Struct("<" + "".join({"i32": "8xI20x", "i64": "8xQ16x"}[kind] for kind in params))


def _waiting(name: str, function: Callable[..., int], params: tuple[str, ...]) -> Callable[..., None]:
    """Return the callback for a function that may raise `Sleep`: then its guest is parked."""
    unpack = _slots(params).unpack
    size = values.SIZE * len(params)

    def call(
        _env: int | None,
        caller: int,
        args: int,
        _count: int,
        results: int,
        _results_count: int,
        trap: int,
        continuation: int,
    ) -> None:
        guest = stage.guest
        given = unpack(_string_at(args, size))
        context = _caller_context(caller)

        def attempt() -> bool:
            try:
                errno = function(guest.world, memory_of(caller, context), *given)
                guest.pay_moved(context)
                _i32_result.pack_into(slots_at(results, 1), 0, values.KINDS["i32"], errno)
            except Sleep as sleep:
                guest.wake = FOR_EVER if sleep.until is None else sleep.until / 1e9
                return False
            except BaseException as error:
                ctypes.c_size_t.from_address(trap).value = end(guest, name, error)
                return guest.go_on()
            return guest.when_paid(guest.go_on)

        guest.attempt = lambda: guest.when_paid(attempt)
        try:
            # Once, however often it is attempted: what a call costs must not depend on the time.
            guest.pay_call(context)
        except OutOfFuel as error:
            guest.attempt = None
            ctypes.c_size_t.from_address(trap).value = end(guest, name, error)
        again(continuation)

    return call
