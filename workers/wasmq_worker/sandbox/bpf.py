"""Filters of system calls, assembled by hand for the kernel's classic BPF machine.

A filter allows what is listed and does to the rest what it says. Arguments are compared in their lower 32 bits: those
that are compared here are ints to the kernel, or masks whose upper half means nothing. Offsets are those of
`struct seccomp_data`, numbers those of linux/bpf_common.h, linux/seccomp.h and linux/audit.h.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

KILL: Final = 0x8000_0000
"""End the process."""
ALLOW: Final = 0x7FFF_0000
AUDIT_ARCH: Final = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}

_LOAD: Final = 0x20  # LD | W | ABS
_AND: Final = 0x54  # ALU | AND | K
_EQUAL: Final = 0x15  # JMP | JEQ | K
_ABOVE: Final = 0x35  # JMP | JGE | K
_RETURN: Final = 0x06  # RET | K
_NUMBER: Final = 0
_ARCH: Final = 4
_ARGUMENTS: Final = 16
_X32: Final = 0x4000_0000

Instruction: TypeAlias = tuple[int, int, int, int]


class Bits(NamedTuple):
    """One argument, counted from 0, and what its bits under a mask must be."""

    argument: int
    mask: int
    wanted: int = 0


class Rule(NamedTuple):
    """When a call is allowed: in any of some cases, in each of which all bits fit. Else `refusal` is done to it."""

    cases: tuple[tuple[Bits, ...], ...]
    refusal: int = KILL


ALWAYS: Final = Rule(((),))


def only(*bits: Bits, refusal: int = KILL) -> Rule:
    """Return the rule of a single case."""
    return Rule((bits,), refusal)


def never(code: int) -> Rule:
    """Return the rule that lets a call fail with an errno."""
    return Rule((), refuse(code))


def refuse(code: int) -> int:
    """Return the action that lets a call fail with an errno."""
    return 0x0005_0000 | code


def assemble(machine: str, rules: Mapping[int, Rule], rest: int = KILL) -> bytes:
    """Return the program for calls by their numbers; calls of another architecture's table end the process."""
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":
        program += [(_ABOVE, 0, 1, _X32), (_RETURN, 0, 0, KILL)]
    for number, rule in rules.items():
        block = _block(rule)
        program += [(_EQUAL, 0, len(block), number), *block]
    program.append((_RETURN, 0, 0, rest))
    return b"".join(struct.pack("=HBBI", *each) for each in program)


def _block(rule: Rule) -> list[Instruction]:
    """Return what decides about one call; it always returns, so that the number stays loaded for the calls below."""
    block: list[Instruction] = []
    for case in rule.cases:
        for place, bits in enumerate(case):
            to_the_next_case = 3 * (len(case) - place - 1) + 1
            block += [
                (_LOAD, 0, 0, _ARGUMENTS + 8 * bits.argument),
                (_AND, 0, 0, bits.mask),
                (_EQUAL, 0, to_the_next_case, bits.wanted),
            ]
        block.append((_RETURN, 0, 0, ALLOW))
    if () not in rule.cases:
        block.append((_RETURN, 0, 0, rule.refusal))
    return block
