"""Satisfies what a guest imports, with functions of this process.

Each import becomes a C callback. While one runs, `stage.guest` is the instance whose turn it is: one thread runs all
guests, and no guest runs inside another's call. Whatever goes wrong on our side ends that guest and no other: nothing
is ever raised through the engine.
"""

from __future__ import annotations

import ctypes
from ctypes import c_uint32
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from wasmq_worker import capi, values
from wasmq_worker.engine import check
from wasmq_worker.guest import FOR_EVER, OutOfFuel
from wasmq_worker.wasi import FUNCTIONS, Exit, Sleep

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmq_worker.guest import Guest
    from wasmq_worker.protocol import Map

WASI: Final = b"wasi_snapshot_preview1"
WAITING: Final = frozenset({"poll_oneoff"})
"""The functions that may have to wait."""
MEMORYLESS: Final = frozenset({"proc_exit", "proc_raise", "sched_yield"})
"""The functions that do not touch the guest's memory, of which it then needs none."""

_OUT_OF_FUEL: Final = 11  # wasmtime/trap.h
_MEMORY: Final = b"memory"
_EXTERN_MEMORY: Final = 3
_RAW: Final = 16  # bytes of a wasmtime_val_raw_t
_WRITABLE: Final = 0x200

_caller_export = capi.caller_export
_caller_context = capi.caller_context
_memory_data = capi.memory_data
_memory_size = capi.memory_data_size
_string_at = ctypes.string_at

_view = ctypes.pythonapi.PyMemoryView_FromMemory
_view.restype = ctypes.py_object
_view.argtypes = (ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)


class _Stage:
    """Who is on."""

    guest: Guest


stage = _Stage()

_extern = (ctypes.c_uint64 * 8)()
_extern_at = ctypes.addressof(_extern)
_memory_at = _extern_at + 8


class NoMemory(Exception):
    """Raised when a guest calls a function that needs its memory, and exports none."""


def memory_of(caller: int, context: int) -> memoryview:
    """Return the caller's memory as it is now: good until the guest runs again. Raises `NoMemory`."""
    if not _caller_export(caller, _MEMORY, 6, _extern_at) or _extern[0] & 0xFF != _EXTERN_MEMORY:
        raise NoMemory
    size = _memory_size(context, _memory_at)
    view: memoryview = _view(_memory_data(context, _memory_at), size, _WRITABLE)
    return view


def _no_memory(_caller: int, _context: int) -> memoryview:
    return memoryview(b"")


class Imports:
    """The callbacks of one engine, which must outlive its linkers."""

    def __init__(self) -> None:
        self._callbacks: dict[str, Any] = {}

    def fill(self, linker: int, description: Map) -> None:
        """Define what a module imports. Raises `EngineError`."""
        for name in description.wasi:
            params, results, function = FUNCTIONS[name]
            callback = self._callbacks.get(name)
            if callback is None:
                if name in WAITING:
                    callback = capi.AsyncHostFunction(_waiting(name, function, params))
                else:
                    callback = capi.HostFunction(_direct(name, function, params, bool(results)))
                self._callbacks[name] = callback
            define = capi.linker_define_async if name in WAITING else capi.linker_define
            _define(define, linker, WASI, name.encode(), params, results, callback)


def _define(
    define: Any,
    linker: int,
    module: bytes,
    name: bytes,
    params: tuple[str, ...],
    results: tuple[str, ...],
    callback: Any,
) -> None:
    type_ = _function_type(params, results)
    try:
        address = ctypes.cast(callback, ctypes.c_void_p)
        check(define(linker, module, len(module), name, len(name), type_, address, None, None))
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
    unpack = Struct("<" + "".join({"i32": "I12x", "i64": "Q8x"}[kind] for kind in params)).unpack
    size = _RAW * len(params)
    memory_for = _no_memory if name in MEMORYLESS else memory_of

    def call(_env: int | None, caller: int, slots: int, _count: int) -> int:
        guest = stage.guest
        try:
            context = _caller_context(caller)
            errno = function(guest.world, memory_for(caller, context), *unpack(_string_at(slots, size)))
            guest.pay(context)
        except BaseException as error:
            return end(guest, name, error)
        if returns:
            c_uint32.from_address(slots).value = errno
        return 0

    return call


def _waiting(name: str, function: Callable[..., int], params: tuple[str, ...]) -> Callable[..., None]:
    """Return the callback for a function that may raise `Sleep`: then its guest is parked."""
    unpack = Struct("<" + "".join({"i32": "8xI20x", "i64": "8xQ16x"}[kind] for kind in params)).unpack
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
                _i32_result.pack_into(_slot.from_address(results), 0, values.KINDS["i32"], errno)
            except Sleep as sleep:
                guest.wake = FOR_EVER if sleep.until is None else sleep.until / 1e9
                return False
            except BaseException as error:
                ctypes.c_size_t.from_address(trap).value = end(guest, name, error)
            guest.wake = guest.attempt = None
            return True

        guest.attempt = attempt
        try:
            # Once, however often it is attempted: what a call costs must not depend on the time.
            guest.pay_call(context)
        except OutOfFuel as error:
            guest.attempt = None
            ctypes.c_size_t.from_address(trap).value = end(guest, name, error)
        _Continuation.from_address(continuation).callback = _again_at

    return call


class _Continuation(ctypes.Structure):
    """`wasmtime_async_continuation_t`."""

    _fields_ = (("callback", ctypes.c_void_p), ("env", ctypes.c_void_p), ("finalizer", ctypes.c_void_p))
    callback: int | None


_slot = ctypes.c_char * values.SIZE
_i32_result = Struct("<B7xI20x")


def _again(_env: int | None) -> bool:
    attempt = stage.guest.attempt
    return attempt is None or attempt()


_again_callback = capi.Continuation(_again)
_again_at = ctypes.cast(_again_callback, ctypes.c_void_p).value


def end(guest: Guest, name: str, error: BaseException) -> int:
    """Note why a guest ends inside a call, and return the trap that ends it."""
    match error:
        case OutOfFuel():
            code: int = capi.trap_new_code(_OUT_OF_FUEL)
            return code
        case Exit():
            guest.ended, guest.exit_code = True, error.code
        case NoMemory():
            guest.failure = f"{name} needs the guest's memory, and the guest exports none as 'memory'"
        case MemoryError():
            guest.failure = f"{name}: the machine has no memory left"
        case _:
            guest.failure = f"{name} failed in the host: {type(error).__name__}: {error}"
    message = (guest.failure or "exit").encode("utf-8", "replace")
    trap: int = capi.trap_new(message, len(message))
    return trap
