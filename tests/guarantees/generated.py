"""Modules made by lot: valid WebAssembly text, and calls of its exports, out of one source of random choices.

Programs always end: a loop counts down a local that nothing else touches, and functions call only those behind them.
What they do on the way is free: integer, float and vector arithmetic, memory, globals, tables, branches, traps.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

NUMBERS: Final = ("i32", "i64", "f32", "f64")
_DEEP: Final = 4  # levels of one expression
_ROUNDS: Final = 9  # of one loop, at most

_INT_BINARY: Final = [
    "add",
    "sub",
    "mul",
    "div_s",
    "div_u",
    "rem_s",
    "rem_u",
    "and",
    "or",
    "xor",
    "shl",
    "shr_s",
    "shr_u",
    "rotl",
    "rotr",
]
_INT_UNARY: Final = ["clz", "ctz", "popcnt"]
_INT_COMPARE: Final = ["eq", "ne", "lt_s", "lt_u", "gt_s", "gt_u", "le_s", "le_u", "ge_s", "ge_u"]
_FLOAT_BINARY: Final = ["add", "sub", "mul", "div", "min", "max", "copysign"]
_FLOAT_UNARY: Final = ["abs", "neg", "ceil", "floor", "trunc", "nearest", "sqrt"]
_FLOAT_COMPARE: Final = ["eq", "ne", "lt", "gt", "le", "ge"]
# By the type that comes out: operations of one operand of another type.
_CONVERT: Final = {
    "i32": {
        "i32.wrap_i64": "i64",
        "i32.trunc_f32_s": "f32",
        "i32.trunc_f64_u": "f64",
        "i32.trunc_sat_f32_u": "f32",
        "i32.trunc_sat_f64_s": "f64",
        "i32.reinterpret_f32": "f32",
        "i32.extend8_s": "i32",
        "i64.eqz": "i64",
    },
    "i64": {
        "i64.extend_i32_s": "i32",
        "i64.extend_i32_u": "i32",
        "i64.trunc_f64_s": "f64",
        "i64.trunc_sat_f32_s": "f32",
        "i64.reinterpret_f64": "f64",
        "i64.extend16_s": "i64",
    },
    "f32": {
        "f32.convert_i32_s": "i32",
        "f32.convert_i64_u": "i64",
        "f32.demote_f64": "f64",
        "f32.reinterpret_i32": "i32",
    },
    "f64": {
        "f64.convert_i32_u": "i32",
        "f64.convert_i64_s": "i64",
        "f64.promote_f32": "f32",
        "f64.reinterpret_i64": "i64",
    },
}
_VECTOR: Final = (
    "i8x16.add_sat_s",
    "i16x8.mul",
    "i32x4.add",
    "i64x2.sub",
    "f32x4.mul",
    "f64x2.div",
    "v128.xor",
    "i8x16.swizzle",
)
_LANES: Final = {
    "i32": ("i32x4.extract_lane", 4),
    "i64": ("i64x2.extract_lane", 2),
    "f32": ("f32x4.extract_lane", 4),
    "f64": ("f64x2.extract_lane", 2),
}
_LOADS: Final = {
    "i32": ("i32.load", "i32.load8_s", "i32.load16_u"),
    "i64": ("i64.load", "i64.load32_s"),
    "f32": ("f32.load",),
    "f64": ("f64.load",),
}
_EDGES: Final = (0, 1, -1, 2, 7, 31, 32, 63, 127, 255, 65_535, 65_536, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63))
_FLOATS: Final = (0.0, -0.0, 1.0, -1.5, 0.1, 1e10, 3.4e38, 1e308, 5e-324, math.inf, -math.inf, math.nan)


@dataclass(frozen=True)
class Function:
    """One function's type."""

    params: tuple[str, ...]
    results: tuple[str, ...]


@dataclass(frozen=True)
class Generated:
    """A module's text, and calls of it: an export, and arguments that fit."""

    text: str
    calls: tuple[tuple[str, tuple[int | float, ...]], ...]


def generate(random: Random) -> Generated:
    """Return a module with calls."""
    functions = [
        Function(_types(random, 3), _types(random, 2) if number else (random.choice(NUMBERS),))
        for number in range(random.randint(1, 4))
    ]
    bodies = [_Body(random, functions, number).text() for number in range(len(functions))]
    text = "\n".join(["(module", *_furniture(random, functions), *bodies, ")"])
    calls = []
    for _ in range(random.randint(1, 3)):
        number = random.randrange(len(functions))
        args = tuple([_number(random, kind) for kind in functions[number].params])
        calls.append((f"f{number}", args))
    return Generated(text, tuple(calls))


def bits(values: Sequence[object]) -> tuple[object, ...]:
    """Return values so that equal means equal to the bit."""
    return tuple([struct.pack("<d", value) if isinstance(value, float) else value for value in values])


def _types(random: Random, most: int) -> tuple[str, ...]:
    return tuple([random.choice(NUMBERS) for _ in range(random.randint(0, most))])


def _number(random: Random, kind: str) -> int | float:
    if kind[0] == "f":
        number = random.choice((*_FLOATS, random.uniform(-1e6, 1e6)))
        return number if kind == "f64" else struct.unpack("<f", struct.pack("<f", _fitting(number)))[0]
    width = int(kind[1:])
    number = random.choice((*_EDGES, random.getrandbits(64)))
    return (number + 2 ** (width - 1)) % 2**width - 2 ** (width - 1)


def _fitting(number: float) -> float:
    return number if not math.isfinite(number) or abs(number) < 3.4e38 else math.copysign(3.4e38, number)


def _literal(kind: str, number: int | float) -> str:
    if isinstance(number, int):
        return f"({kind}.const {number})"
    if math.isnan(number):
        return f"({kind}.const nan)"
    if math.isinf(number):
        return f"({kind}.const {'-' if number < 0 else ''}inf)"
    return f"({kind}.const {number.hex()})"


def _furniture(random: Random, functions: list[Function]) -> list[str]:
    lines = [f"(memory {random.randint(1, 2)} {random.randint(2, 5)})"]
    lines += [f"(global ${kind} (mut {kind}) {_literal(kind, _number(random, kind))})" for kind in NUMBERS]
    # The last function and nothing: what calls through it does not come back to itself, and may find no function.
    lines.append("(table 4 funcref)")
    lines.append(f"(elem (i32.const 0) $f{len(functions) - 1} $f{len(functions) - 1})")
    data = "".join(f"\\{random.getrandbits(8):02x}" for _ in range(random.randint(0, 24)))
    lines.append(f'(data (i32.const {random.choice((0, 8, 65_500))}) "{data}")')
    return lines


class _Body:
    """One function's text. What it may call are the functions behind it."""

    def __init__(self, random: Random, functions: list[Function], number: int) -> None:
        self._random = random
        self._functions = functions
        self._number = number
        self._function = functions[number]
        own = [random.choice(NUMBERS) for _ in range(random.randint(0, 3))]
        self._locals = [*self._function.params, *own]
        self._own = own
        self._loops = 0
        self._room = 60  # statements and expressions, about

    def text(self) -> str:
        function = self._function
        statements = [self._statement(2) for _ in range(self._random.randint(1, 5))]
        results = [self._expression(kind, _DEEP) for kind in function.results]
        params = " ".join(function.params)
        counters = " ".join(["i32"] * self._loops)
        return "\n".join(
            [
                f'(func $f{self._number} (export "f{self._number}")',
                f"(param {params}) (result {' '.join(function.results)}) (local {' '.join(self._own)} {counters})",
                *statements,
                *results,
                ")",
            ]
        )

    def _some(self, *choices: Callable[[], str | None]) -> str:
        """Return what one of the choices gives, of those that can be made here."""
        order = list(choices)
        self._random.shuffle(order)
        return next(text for choice in order if (text := choice()) is not None)

    # Statements leave nothing on the stack.

    def _statement(self, depth: int) -> str:
        self._room -= 1
        if depth <= 0 or self._room <= 0:
            return self._assign() or "(nop)"
        return self._some(
            self._assign,
            self._assign,
            self._store,
            lambda: f"(if {self._expression('i32', 2)} (then {self._block(depth)}) (else {self._block(depth)}))",
            lambda: f"(block (br_if 0 {self._expression('i32', 2)}) {self._block(depth)})",
            lambda: self._loop(depth),
            lambda: self._switch(depth),
            lambda: self._fall(depth),
            lambda: self._bulk(),
            lambda: f"(drop (memory.grow (i32.const {self._random.randint(0, 3)})))",
            lambda: self._call(None),
        )

    def _block(self, depth: int) -> str:
        return " ".join(self._statement(depth - 1) for _ in range(self._random.randint(1, 3)))

    def _assign(self) -> str | None:
        if self._locals and self._random.random() < 0.7:
            index = self._random.randrange(len(self._locals))
            return f"(local.set {index} {self._expression(self._locals[index], _DEEP)})"
        kind = self._random.choice(NUMBERS)
        return f"(global.set ${kind} {self._expression(kind, _DEEP)})"

    def _store(self) -> str:
        kind = self._random.choice(NUMBERS)
        return f"({kind}.store offset={self._offset()} {self._address()} {self._expression(kind, 2)})"

    def _loop(self, depth: int) -> str:
        counter = len(self._locals) + self._loops
        self._loops += 1
        body = self._block(depth)
        rounds = self._random.randint(1, _ROUNDS)
        return (
            f"(local.set {counter} (i32.const {rounds})) (loop {body} "
            f"(br_if 0 (local.tee {counter} (i32.sub (local.get {counter}) (i32.const 1)))))"
        )

    def _switch(self, depth: int) -> str:
        return (
            f"(block (block (block (br_table 0 1 2 1 {self._expression('i32', 2)})) "
            f"{self._block(depth)}) {self._block(depth)})"
        )

    def _fall(self, depth: int) -> str | None:
        """Return something that ends the function, or the program, if it is reached: seldom."""
        if self._random.random() < 0.6:
            return None
        end = "(unreachable)"
        if self._random.random() < 0.5:
            end = f"(return {' '.join(self._expression(kind, 1) for kind in self._function.results)})"
        return f"(if (i32.eq {self._expression('i32', 1)} {self._expression('i32', 1)}) (then {end}))"

    def _bulk(self) -> str:
        length = self._random.choice((0, 1, 16, 300, 70_000))
        if self._random.random() < 0.5:
            return f"(memory.fill {self._address()} {self._expression('i32', 1)} (i32.const {length}))"
        return f"(memory.copy {self._address()} {self._address()} (i32.const {length}))"

    # Expressions leave one value of their kind.

    def _expression(self, kind: str, depth: int) -> str:
        self._room -= 1
        leaves: list[Callable[[], str | None]] = [
            lambda: _literal(kind, _number(self._random, kind)),
            lambda: self._local(kind),
            lambda: f"(global.get ${kind})",
        ]
        if depth <= 0 or self._room <= 0:
            return self._some(*leaves)
        return self._some(
            *leaves,
            lambda: self._arithmetic(kind, depth),
            lambda: self._arithmetic(kind, depth),
            lambda: self._convert(kind, depth),
            lambda: f"({self._random.choice(_LOADS[kind])} offset={self._offset()} {self._address()})",
            lambda: (
                f"(select {self._expression(kind, depth - 1)} {self._expression(kind, depth - 1)} "
                f"{self._expression('i32', depth - 1)})"
            ),
            lambda: (
                f"(if (result {kind}) {self._expression('i32', depth - 1)} "
                f"(then {self._expression(kind, depth - 1)}) (else {self._expression(kind, depth - 1)}))"
            ),
            lambda: self._vector(kind, depth),
            lambda: self._call(kind),
            lambda: "(memory.size)" if kind == "i32" else None,
        )

    def _local(self, kind: str) -> str | None:
        fitting = [index for index, known in enumerate(self._locals) if known == kind]
        return f"(local.get {self._random.choice(fitting)})" if fitting else None

    def _arithmetic(self, kind: str, depth: int) -> str:
        if kind == "i32" and self._random.random() < 0.3:
            of = self._random.choice(NUMBERS)
            compare = self._random.choice(_INT_COMPARE if of[0] == "i" else _FLOAT_COMPARE)
            return f"({of}.{compare} {self._expression(of, depth - 1)} {self._expression(of, depth - 1)})"
        unary, binary = (_INT_UNARY, _INT_BINARY) if kind[0] == "i" else (_FLOAT_UNARY, _FLOAT_BINARY)
        if self._random.random() < 0.3:
            return f"({kind}.{self._random.choice(unary)} {self._expression(kind, depth - 1)})"
        operation = self._random.choice(binary)
        return f"({kind}.{operation} {self._expression(kind, depth - 1)} {self._expression(kind, depth - 1)})"

    def _convert(self, kind: str, depth: int) -> str:
        operation, of = self._random.choice(sorted(_CONVERT[kind].items()))
        return f"({operation} {self._expression(of, depth - 1)})"

    def _vector(self, kind: str, depth: int) -> str:
        extract, lanes = _LANES[kind]
        left, right = self._splat(depth), self._splat(depth)
        return f"({extract} {self._random.randrange(lanes)} ({self._random.choice(_VECTOR)} {left} {right}))"

    def _splat(self, depth: int) -> str:
        kind = self._random.choice(NUMBERS)
        shape = _LANES[kind][0].partition(".")[0]
        return f"({shape}.splat {self._expression(kind, depth - 2)})"

    def _call(self, kind: str | None) -> str | None:
        """Return a call of a function behind this one, by name or through the table; None when none fits."""
        wanted = () if kind is None else (kind,)
        fitting = [
            number for number in range(self._number + 1, len(self._functions))
            if self._functions[number].results == wanted
        ]  # fmt: skip
        if not fitting:
            return None
        number = self._random.choice(fitting)
        function = self._functions[number]
        args = " ".join(self._expression(param, 1) for param in function.params)
        if number < len(self._functions) - 1 or self._random.random() < 0.5:
            return f"(call $f{number} {args})"
        results = " ".join(function.results)
        slot = f"(i32.and {self._expression('i32', 1)} (i32.const {self._random.choice((1, 1, 3, 7))}))"
        return f"(call_indirect (param {' '.join(function.params)}) (result {results}) {args} {slot})"

    def _address(self) -> str:
        """Return an address that is in memory most of the time."""
        if self._random.random() < 0.9:
            return f"(i32.and {self._expression('i32', 1)} (i32.const 65528))"
        return self._expression("i32", 1)

    def _offset(self) -> int:
        return self._random.choice((0, 0, 1, 4, 64, 65_536))
