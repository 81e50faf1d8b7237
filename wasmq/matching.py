"""Whether what is offered may stand in for what is imported: import matching as the specification has it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from wasmq import wit
from wasmq.types import FunctionType, GlobalType, MemoryType, TableType, TagType

if TYPE_CHECKING:
    from wasmq.types import ExternType

_NUMBERS: Final = frozenset({"i32", "i64", "f32", "f64", "v128"})


def fits(offered: ExternType, wanted: ExternType, *, grown: bool = False) -> bool:
    """Return whether an import of type `wanted` may be given something that is declared as `offered`.

    `grown` says that code may have run before which has grown what is offered: then only its maximum counts. Where
    types lean on a module's own definitions, as `(ref 3)` does, the answer is yes: the engine has the last word.
    """
    if type(offered) is not type(wanted):
        return False
    match wanted:
        case FunctionType() if isinstance(offered, FunctionType):
            return _lists_fit(offered.params, wanted.params) and _lists_fit(offered.results, wanted.results)
        case MemoryType() if isinstance(offered, MemoryType):
            same = (offered.memory64, offered.shared, offered.page_size)
            return same == (wanted.memory64, wanted.shared, wanted.page_size) and _limits_fit(offered, wanted, grown)
        case TableType() if isinstance(offered, TableType):
            return (
                offered.table64 == wanted.table64
                and _values_fit(offered.element, wanted.element)
                and _limits_fit(offered, wanted, grown)
            )
        case GlobalType() if isinstance(offered, GlobalType):
            if offered.mutable != wanted.mutable:
                return False
            if _NUMBERS.isdisjoint((offered.value, wanted.value)) and not wanted.mutable:
                return True  # references: a subtype will do
            return _values_fit(offered.value, wanted.value)
        case TagType() if isinstance(offered, TagType):
            return _lists_fit(offered.params, wanted.params)
        case FunctionType() | MemoryType() | TableType() | GlobalType() | TagType():
            return False
        case wit.Func() | wit.Definition() | wit.Resource() | wit.OtherItem():
            return False  # a component's: it is never linked
    assert_never(wanted)


def _lists_fit(offered: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    return len(offered) == len(wanted) and all(map(_values_fit, offered, wanted))


def _values_fit(offered: str, wanted: str) -> bool:
    """Return whether two value types are the same, as far as can be told from their names."""
    return (
        offered == wanted
        or (_is_own(offered) and not _is_plain(wanted))
        or (_is_own(wanted) and not _is_plain(offered))
    )


def _is_plain(value: str) -> bool:
    return value in _NUMBERS


def _is_own(value: str) -> bool:
    """Return whether a reference is to a type that the module defines: `(ref 3)`, `(ref null 3)`."""
    return value.endswith(")") and value[-2].isdigit()


def _limits_fit(offered: MemoryType | TableType, wanted: MemoryType | TableType, grown: bool) -> bool:
    least = offered.minimum
    if grown:
        least = max(wanted.minimum, least) if offered.maximum is None else max(offered.maximum, least)
    if least < wanted.minimum:
        return False
    return wanted.maximum is None or (offered.maximum is not None and offered.maximum <= wanted.maximum)
