"""Calls of the embedding program's functions: the guest asks, and is parked until the answer has come.

What a call costs is taken before it goes out, and only what comes back through the guest's memory afterwards, so that
the same calls with the same answers cost the same, whatever they wait for.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from wasmq_worker import capi, values
from wasmq_worker.callbacks import Failed, again, end, find_memory, slots_at, stage
from wasmq_worker.guest import FOR_EVER
from wasmq_worker.protocol import BYTES, Asked

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmq_worker.guest import Guest
    from wasmq_worker.protocol import Answer, HostImport, Value

SPENT: Final = "host_calls"
"""The trap code of a guest that has made all the host calls it may."""

_caller_context = capi.caller_context
_string_at = ctypes.string_at
_U32: Final = 0xFFFF_FFFF
_NO_MEMORY: Final = (0, 0)


class _Slice(NamedTuple):
    """Bytes of a guest's memory, by their address in this process."""

    at: int
    size: int


class Question:
    """One host call that is out, or waits to go: the job's `call`th. `size` is the bytes that it carries.

    The guest's memory is read only when the call goes, and written when the answer comes: between, nothing of the
    guest runs, and its memory stays as it is and where it is.
    """

    __slots__ = ("_given", "call", "function", "room", "sent", "size", "to")

    def __init__(self, call: int, function: int) -> None:
        self.call = call
        self.function = function
        self._given: list[_Slice | Value] = []
        self.size = 0
        self.to = 0
        self.room: int | None = None
        self.sent = False

    def take(self, host: HostImport, given: tuple[Value, ...], memory: tuple[int, int], most: int) -> None:
        """Take the core arguments, those of bytes as places in memory.

        Raises `Failed` for bytes outside of it, or more than `most`.
        """
        place = 0
        for number, kind in enumerate(host.params, 1):
            if kind not in BYTES:
                self._given.append(given[place])
                place += 1
                continue
            at, size = _within(memory, given, place, f"{_name(host)}: argument {number}")
            place += 2
            self._given.append(_Slice(at, size))
            self.size += size
        if place < len(given):
            self.to, self.room = _within(memory, given, place, f"{_name(host)}: room for the result")
        if self.size > most:
            raise Failed(f"{_name(host)}: {self.size} bytes are above the limit of {most} (host.max_bytes)")

    def asked(self, ticket: int) -> Asked:
        """Return the call as it goes to the program."""
        args = tuple([_string_at(*given) if isinstance(given, _Slice) else given for given in self._given])
        return Asked(ticket, self.call, self.function, args if self.room is None else (*args, self.room))


def asking(host: HostImport, host_bytes: int) -> Callable[..., None]:
    """Return the callback of a function of the embedding program; `host_bytes` is the most that a call may carry."""
    params, results = host.core()
    layout = values.Layout(results, params)
    size = values.SIZE * len(params)
    count = len(results)
    name = _name(host)
    reaches_memory = len(params) != len(host.params)

    def call(
        _env: int | None,
        caller: int,
        args: int,
        _count: int,
        out: int,
        _out_count: int,
        trap: int,
        continuation: int,
    ) -> None:
        guest = stage.guest
        context = _caller_context(caller)

        def attempt() -> bool:
            answer = guest.answer
            if answer is None:
                guest.wake = FOR_EVER
                return False
            guest.wake = guest.attempt = guest.question = guest.answer = None
            try:
                _put(guest, context, question, answer)
                if count:
                    layout.write(slots_at(out, count), 0, answer.values)
            except BaseException as error:
                ctypes.c_size_t.from_address(trap).value = end(guest, name, error)
                return True
            return guest.when_paid(guest.go_on)

        def ask() -> bool:
            guest.question, guest.attempt = question, attempt
            return attempt()

        try:
            question = _counted(guest, host)
            memory = find_memory(caller, context) if reaches_memory else _NO_MEMORY
            question.take(host, layout.read(_string_at(args, size), args, 0), memory, host_bytes)
            guest.pay_bytes(context, question.size, host.price)
        except BaseException as error:
            guest.attempt = None
            ctypes.c_size_t.from_address(trap).value = end(guest, name, error)
        else:
            guest.attempt = lambda: guest.when_paid(ask)
        again(continuation)

    return call


def _counted(guest: Guest, host: HostImport) -> Question:
    """Count a call and return it. Raises `Failed` for one more than the job may make."""
    function = host.function
    called = guest.called.get(function, 0)
    if guest.calls >= guest.max_calls:
        raise Failed(f"{_name(host)}: all {guest.max_calls} host calls are spent (limits.host_calls)", SPENT)
    if called >= host.max_calls:
        raise Failed(f"{_name(host)}: all {host.max_calls} calls of this function are spent (its max_calls)", SPENT)
    guest.called[function] = called + 1
    guest.calls += 1
    return Question(guest.calls, function)


def _put(guest: Guest, context: int, question: Question, answer: Answer) -> None:
    """Bring an answer's bytes into the guest's memory. Raises `Failed` or `OutOfFuel`."""
    if answer.error is not None:
        raise Failed(answer.error)
    if answer.data is not None:
        data = answer.data[: question.room]
        guest.pay_bytes(context, len(data))
        ctypes.memmove(question.to, data, len(data))


def _within(memory: tuple[int, int], given: tuple[Value, ...], place: int, what: str) -> tuple[int, int]:
    """Return address and size of what a pointer and a length mean. Raises `Failed` when it is not all in memory."""
    start, size = cast("int", given[place]) & _U32, cast("int", given[place + 1]) & _U32
    if start + size > memory[1]:
        raise Failed(f"{what}: {size} bytes at {start} are outside the guest's memory of {memory[1]} bytes")
    return memory[0] + start, size


def _name(host: HostImport) -> str:
    return f"host function {host.module}.{host.name}"
