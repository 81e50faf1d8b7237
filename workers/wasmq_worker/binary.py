"""A reader for WebAssembly's binary format: numbers, names, types, and constant expressions, which it skips.

It goes forward only, never past its end, and takes nothing on trust whose reading would cost more than the bytes.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

_NUMBERS: Final = {0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64", 0x7B: "v128"}
HEAPS: Final = {
    0x74: ("noexn", "nullexnref"),
    0x73: ("nofunc", "nullfuncref"),
    0x72: ("noextern", "nullexternref"),
    0x71: ("none", "nullref"),
    0x70: ("func", "funcref"),
    0x6F: ("extern", "externref"),
    0x6E: ("any", "anyref"),
    0x6D: ("eq", "eqref"),
    0x6C: ("i31", "i31ref"),
    0x6B: ("struct", "structref"),
    0x6A: ("array", "arrayref"),
    0x69: ("exn", "exnref"),
}
"""Heap types by their code: a name, and what a nullable reference to one is called."""
_PLAIN: Final = _NUMBERS | {code: shorthand for code, (_, shorthand) in HEAPS.items()}
_REF, _REF_NULL = 0x64, 0x63
_CONTINUED: Final = bytes(range(0x80, 0x100))

# Instructions of constant expressions by what follows them: nothing, one LEB, two LEBs, bytes.
_END: Final = 0x0B
_BARE: Final = frozenset((0x6A, 0x6B, 0x6C, 0x7C, 0x7D, 0x7E))
_WITH_LEB: Final = frozenset((0x23, 0x41, 0x42, 0xD0, 0xD2))
_WITH_BYTES: Final = {0x43: 4, 0x44: 8}
_GC, _SIMD, _V128_CONST = 0xFB, 0xFD, 0x0C
_GC_LEBS: Final = {0: 1, 1: 1, 6: 1, 7: 1, 8: 2, 26: 0, 27: 0, 28: 0}

Type: TypeAlias = list[Any]
"""An extern's type as plain data: see `wasmq_worker.describe`."""


class DescribeError(ValueError):
    """Raised when the bytes are not a module that can be described; the message gives the offset."""


class Reader:
    """Reads `data` forward from `at`, never past `end`. Every method that reads raises `DescribeError`."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data = data
        self.at = at
        self.end = end

    def fail(self, what: str, at: int | None = None) -> DescribeError:
        """Return an error that names a place, which is where the reader is unless given."""
        return DescribeError(f"{what} at byte {self.at if at is None else at}")

    def byte(self) -> int:
        """Read one byte."""
        at = self.at
        if at >= self.end:
            raise self.fail("unexpected end")
        self.at = at + 1
        return self.data[at]

    def peek(self) -> int:
        """Return the next byte without reading it, or -1 at the end."""
        return self.data[self.at] if self.at < self.end else -1

    def skip(self, length: int) -> None:
        """Skip so many bytes."""
        if length > self.end - self.at:
            raise self.fail(f"{length} bytes announced, {self.end - self.at} left")
        self.at += length

    def unsigned(self, bits: int = 32) -> int:
        """Read an unsigned number of at most `bits` bits."""
        start = self.at
        result = self.byte()
        if result < 0x80:
            return result
        result &= 0x7F
        for shift in range(7, bits, 7):
            byte = self.byte()
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                if result >> bits:
                    break
                return result
        raise self.fail(f"a number of more than {bits} bits", start)

    def skip_leb(self) -> None:
        """Skip a number of any kind."""
        start = self.at
        while self.byte() >= 0x80:
            if self.at - start >= 10:
                raise self.fail("a number of more than 64 bits", start)

    def skip_lebs(self, count: int) -> None:
        """Skip many numbers: of as many bytes, those without a continuation bit are the numbers that end in them."""
        while count:
            if count > self.end - self.at:
                raise self.fail("unexpected end")
            chunk = self.data[self.at : self.at + count]
            self.at += count
            count -= count if chunk.isascii() else len(chunk.translate(None, _CONTINUED))

    def count(self) -> int:
        """Read the length of a list, whose every item takes a byte at least."""
        start = self.at
        count = self.unsigned()
        if count > self.end - self.at:
            raise self.fail(f"a list of {count} in {self.end - self.at} bytes", start)
        return count

    def name(self) -> str:
        """Read a name."""
        length = self.unsigned()
        start = self.at
        self.skip(length)
        try:
            return self.data[start : self.at].decode()
        except UnicodeDecodeError:
            raise self.fail("a name that is not UTF-8", start) from None

    def value_type(self) -> str:
        """Read a value type, or a reference type: "i32", "funcref", "(ref null 3)"."""
        start = self.at
        code = self.byte()
        if (plain := _PLAIN.get(code)) is not None:
            return plain
        if code not in (_REF, _REF_NULL):
            raise self.fail(f"unknown value type {code:#04x}", start)
        nullable = code == _REF_NULL
        if (heap := HEAPS.get(self.peek())) is not None:
            self.at += 1
            return heap[1] if nullable else f"(ref {heap[0]})"
        index = self.unsigned()
        if self.data[self.at - 1] & 0x40:  # the number is signed, and the negative ones are heap types
            raise self.fail("unknown heap type", start)
        return f"(ref null {index})" if nullable else f"(ref {index})"

    def value_types(self) -> tuple[str, ...]:
        """Read a list of value types."""
        count = self.count()
        if not count:
            return ()
        start = self.at
        try:
            plain = tuple([_PLAIN[code] for code in self.data[start : start + count]])
        except KeyError:
            return tuple([self.value_type() for _ in range(count)])
        self.at += count
        return plain

    def limits(self) -> tuple[int, int | None, int, int]:
        """Read limits: minimum, maximum or None, the flags, and the size of a page."""
        flags = self.unsigned()
        bits = 64 if flags & 4 else 32
        minimum = self.unsigned(bits)
        maximum = self.unsigned(bits) if flags & 1 else None
        page = self.unsigned() if flags & 8 else 16
        if flags > 15 or page > 16:
            raise self.fail("unknown limits")
        return minimum, maximum, flags, 1 << page

    def memory_type(self) -> Type:
        """Read a memory's type."""
        minimum, maximum, flags, page = self.limits()
        return ["memory", minimum, maximum, bool(flags & 4), bool(flags & 2), page]

    def table_type(self) -> Type:
        """Read a table's type."""
        element = self.value_type()
        minimum, maximum, flags, _ = self.limits()
        return ["table", element, minimum, maximum, bool(flags & 4)]

    def global_type(self) -> Type:
        """Read a global's type."""
        value = self.value_type()
        return ["global", value, bool(self.byte() & 1)]

    def skip_expression(self) -> None:
        """Skip a constant expression and the end that belongs to it."""
        while (code := self.byte()) != _END:
            if code in _WITH_LEB:
                self.skip_leb()
            elif code in _BARE:
                pass
            elif code in _WITH_BYTES:
                self.skip(_WITH_BYTES[code])
            elif code == _GC and (lebs := _GC_LEBS.get(self.unsigned())) is not None:
                for _ in range(lebs):
                    self.skip_leb()
            elif code == _SIMD and self.unsigned() == _V128_CONST:
                self.skip(16)
            else:
                raise self.fail("unknown instruction in a constant expression")
