"""WIT types as text, so that the type a component imports can be compared with the one that is offered.

The canonical text of a type has no spaces and no names of types, but those of resources:

    bool s8 u8 s16 u16 s32 u32 s64 u64 f32 f64 char string
    list<T> option<T> tuple<T,T>
    result result<T> result<_,T> result<T,T>
    record{field:T,field:T} variant{case,case(T)} enum{case,case} flags{name,name}
    own<resource> borrow<resource>

Fields, cases and flags are in the order in which they are declared. What is parsed may have spaces anywhere between two
words or signs, a comma before a closing sign, and names of types that are given.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PRIMITIVES: Final = frozenset(
    ("bool", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "f32", "f64", "char", "string")
)
# How deep types may be nested, as the text of one may come from elsewhere.
_DEPTH_MAX: Final = 100

_word = re.compile(r"\s*([A-Za-z0-9_-]+|[<>{}(),:])")
_name = re.compile(r"[A-Za-z0-9-]+")


class Type(NamedTuple):
    """One type.

    `kind` is the first word of its text. `parts` are what it is made of: fields, cases, flags or a resource by their
    names, the parts of a list, option or tuple without one, those of a result as "ok" and "err".
    """

    kind: str
    parts: tuple[tuple[str, Type | None], ...] = ()

    def __str__(self) -> str:
        """Return the canonical text."""
        match self.kind:
            case "record":
                inner = ",".join(f"{name}:{part}" for name, part in self.parts)
            case "variant":
                inner = ",".join(name if part is None else f"{name}({part})" for name, part in self.parts)
            case "enum" | "flags" | "own" | "borrow":
                inner = ",".join(name for name, _ in self.parts)
            case "result":
                (_, ok), (_, err) = self.parts
                if err is None:
                    return "result" if ok is None else f"result<{ok}>"
                inner = f"{'_' if ok is None else ok},{err}"
            case _:
                inner = ",".join(str(part) for _, part in self.parts)
        if self.kind in ("record", "variant", "enum", "flags"):
            return f"{self.kind}{{{inner}}}"
        return f"{self.kind}<{inner}>" if self.parts else self.kind


def parse(text: str, names: Mapping[str, Type] | None = None) -> Type:
    """Return the type that a text says; `names` are named types it may use. Raises ValueError for anything else."""
    words = _Words(text, names or {})
    found = words.type(0)
    words.end()
    return found


class _Words:
    """Reads a text from left to right."""

    def __init__(self, text: str, names: Mapping[str, Type]) -> None:
        self._text = text
        self._names = names
        self._at = 0

    def end(self) -> None:
        if self._text[self._at :].strip():
            raise self._wrong()

    def type(self, depth: int) -> Type:
        if depth > _DEPTH_MAX:
            raise ValueError(f"a WIT type nested deeper than {_DEPTH_MAX}")
        kind = self._next()
        if kind in PRIMITIVES:
            return Type(kind)
        match kind:
            case "list" | "option":
                self._expect("<")
                parts = (("", self.type(depth + 1)),)
                self._expect(">")
                return Type(kind, parts)
            case "tuple":
                return Type(kind, self._several("<", ">", lambda: ("", self.type(depth + 1))))
            case "own" | "borrow":
                self._expect("<")
                name = self._named()
                self._expect(">")
                return Type(kind, ((name, None),))
            case "result":
                return self._result(depth)
            case "record":
                return Type(kind, self._several("{", "}", lambda: self._field(depth)))
            case "variant":
                return Type(kind, self._several("{", "}", lambda: self._case(depth)))
            case "enum" | "flags":
                return Type(kind, self._several("{", "}", lambda: (self._named(), None)))
        if kind not in self._names:
            raise self._wrong()
        return self._names[kind]

    def _result(self, depth: int) -> Type:
        ok: Type | None = None
        err: Type | None = None
        if self._take("<"):
            if not self._take("_"):
                ok = self.type(depth + 1)
            if self._take(","):
                err = self.type(depth + 1)
            self._expect(">")
        return Type("result", (("ok", ok), ("err", err)))

    def _field(self, depth: int) -> tuple[str, Type | None]:
        name = self._named()
        self._expect(":")
        return name, self.type(depth + 1)

    def _case(self, depth: int) -> tuple[str, Type | None]:
        name = self._named()
        if not self._take("("):
            return name, None
        part = self.type(depth + 1)
        self._expect(")")
        return name, part

    def _several(
        self, opening: str, closing: str, one: Callable[[], tuple[str, Type | None]]
    ) -> tuple[tuple[str, Type | None], ...]:
        self._expect(opening)
        found = [one()]
        while self._take(",") and not self._take(closing, keep=True):
            found.append(one())
        self._expect(closing)
        return tuple(found)

    def _named(self) -> str:
        name = self._next()
        if not _name.fullmatch(name):
            raise self._wrong()
        return name

    def _next(self) -> str:
        match = _word.match(self._text, self._at)
        if match is None:
            raise self._wrong()
        self._at = match.end()
        return match[1]

    def _take(self, word: str, *, keep: bool = False) -> bool:
        match = _word.match(self._text, self._at)
        if match is None or match[1] != word:
            return False
        if not keep:
            self._at = match.end()
        return True

    def _expect(self, word: str) -> None:
        if not self._take(word):
            raise self._wrong()

    def _wrong(self) -> ValueError:
        return ValueError(f"not a WIT type: {self._text!r}, at character {self._at}")
