"""Linear memories whose growth we count ourselves.

wasmtime's own limit is per memory, and says nothing when it refuses.

A slot is a reserved range of addresses, readable up to the memory's size; slots are kept and used again, emptied by
the kernel in between, so that no byte passes from one job to the next.
"""

from __future__ import annotations

import ctypes
from ctypes import c_int, c_long, c_size_t, c_uint64, c_void_p
from typing import Final

from wasmq_worker import capi

NO_MEMORY: Final = "the machine has no memory left for this instance"
"""What the engine is told, and says, when a memory cannot be had that its job may have."""

WARM: Final = 256
"""Slots kept for the next instance."""
_KEEP_READABLE: Final = 2**20  # of a used slot: beyond it, protecting once is cheaper than emptying every time

_PROT_NONE, _PROT_READ_WRITE = 0, 3
_MAP_PRIVATE_ANONYMOUS_NORESERVE = 0x2 | 0x20 | 0x4000
_MADV_DONTNEED = 4
_MAP_FAILED = 2**64 - 1

_libc = ctypes.PyDLL(None, use_errno=True)
_mmap = _libc.mmap
_mmap.restype, _mmap.argtypes = c_void_p, (c_void_p, c_size_t, c_int, c_int, c_int, c_long)
_munmap = _libc.munmap
_munmap.argtypes = (c_void_p, c_size_t)
_mprotect = _libc.mprotect
_mprotect.argtypes = (c_void_p, c_size_t, c_int)
_madvise = _libc.madvise
_madvise.argtypes = (c_void_p, c_size_t, c_int)

_Quad = c_uint64 * 4


class Account:
    """What one job's memories come to, in bytes, and whether a growth was refused for the cap."""

    __slots__ = ("cap", "refused", "used")

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self.used = 0
        self.refused = False


class _Slot:
    __slots__ = ("account", "base", "length", "readable", "reserved", "size")

    def __init__(self, base: int, reserved: int, length: int) -> None:
        self.base = base
        self.reserved = reserved
        self.length = length
        self.readable = 0
        self.size = 0
        self.account: Account | None = None


class Memories:
    """The memory creator of a counted engine. `account` is set by whoever instantiates, before it does."""

    def __init__(self) -> None:
        self.account: Account | None = None
        self._slots: dict[int, _Slot] = {}
        self._warm: list[_Slot] = []
        self._next = 1
        self._callbacks = (
            capi.GetMemory(self._get),
            capi.GrowMemory(self._grow),
            capi.Finalizer(self._release),
        )
        self._pointers = [ctypes.cast(callback, c_void_p).value or 0 for callback in self._callbacks]
        self._new_memory = capi.NewMemory(self._new)
        self.creator = capi.MemoryCreator(None, self._new_memory, None)

    @property
    def live(self) -> int:
        """Memories that belong to an instance now."""
        return len(self._slots)

    def _new(
        self, env: int | None, kind: int, minimum: int, maximum: int, reserve: int, guard: int, result: int
    ) -> int | None:
        account = self.account
        if account is None or account.used + minimum > account.cap:
            if account is not None:
                account.refused = True
            return _error(b"the memory cap has no room for this memory's minimum size")
        if minimum > reserve:
            return _error(b"a memory is larger than what the engine reserves for one")
        slot = self._take(reserve, reserve + guard)
        if slot is None or not self._resize(slot, minimum):
            return _error(NO_MEMORY.encode())
        slot.account = account
        slot.size = minimum
        account.used += minimum
        number = self._next
        self._next = number + 1
        self._slots[number] = slot
        _Quad.from_address(result)[:] = [number, *self._pointers]
        return None

    def _get(self, env: int, size: int, maximum: int) -> int:
        slot = self._slots[env]
        c_size_t.from_address(size).value = slot.size
        c_size_t.from_address(maximum).value = slot.reserved
        return slot.base

    def _grow(self, env: int, size: int) -> int | None:
        slot = self._slots[env]
        account = slot.account
        more = size - slot.size
        if account is None or account.used + more > account.cap:
            if account is not None:
                account.refused = True
            return _error(b"over the memory cap")
        if size > slot.reserved or not self._resize(slot, size):
            return _error(b"no address space left for this memory")
        account.used += more
        slot.size = size
        return None

    def _release(self, env: int) -> None:
        slot = self._slots.pop(env)
        slot.account = None
        if len(self._warm) >= WARM:
            _munmap(slot.base, slot.length)
            return
        _madvise(slot.base, slot.readable, _MADV_DONTNEED)
        if slot.readable > _KEEP_READABLE:
            _mprotect(slot.base, slot.readable, _PROT_NONE)
            slot.readable = 0
        self._warm.append(slot)

    def _take(self, reserved: int, length: int) -> _Slot | None:
        while self._warm:
            slot = self._warm.pop()
            if slot.length == length:
                return slot
            _munmap(slot.base, slot.length)
        base = _mmap(None, length, _PROT_NONE, _MAP_PRIVATE_ANONYMOUS_NORESERVE, -1, 0)
        return None if base in (None, _MAP_FAILED) else _Slot(base, reserved, length)

    @staticmethod
    def _resize(slot: _Slot, size: int) -> bool:
        """Make exactly the first `size` bytes accessible: an access beyond them must fault."""
        readable = slot.readable
        if size == readable:
            return True
        start, more, protection = (
            (readable, size - readable, _PROT_READ_WRITE) if size > readable else (size, readable - size, _PROT_NONE)
        )
        if _mprotect(slot.base + start, more, protection) != 0:
            return False
        slot.readable = size
        return True


def _error(message: bytes) -> int:
    pointer: int = capi.error_new(message)
    return pointer
