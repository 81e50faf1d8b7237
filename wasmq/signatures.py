"""What a host function takes and gives, read from its annotations or said in so many words."""

from __future__ import annotations

import inspect
import types
import typing
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, NoReturn, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["HostCall", "Signature", "f32", "f64", "i32", "i64", "signature_of"]


class _Core(str):
    """A core value type, as an annotation carries it."""

    __slots__ = ()


i32: TypeAlias = Annotated[int, _Core("i32")]
"""An `int` that crosses as an i32: it comes signed, and may be returned signed or unsigned."""
i64: TypeAlias = Annotated[int, _Core("i64")]
"""An `int` that crosses as an i64: it comes signed, and may be returned signed or unsigned."""
f32: TypeAlias = Annotated[float, _Core("f32")]
"""A `float` that crosses as an f32, rounded to it."""
f64: TypeAlias = Annotated[float, _Core("f64")]
"""A `float` that crosses as an f64."""

# A v128 is not among them: the engine's C interface cannot name it in a function's type, and ends the process.
KINDS: Final = ("i32", "i64", "f32", "f64", "bytes", "str")
_PLAIN: Final[dict[Any, str]] = {int: "i32", float: "f64", bytes: "bytes", str: "str"}
_WAY_OUT: Final = "use wasmq.i32, i64, f32 or f64, int (an i32), float (an f64), bytes or str"


class HostCall(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls, for a host function whose first parameter is annotated with this.

    A `job` runs again when its worker dies, and then makes the same calls again in the next `attempt`; `number` counts
    the calls of one attempt from 1. So for a guest that does the same each time, (job, number) is the same call.
    """

    job: str
    tenant: str
    attempt: int
    number: int


class Signature(NamedTuple):
    """What a function takes and gives: `KINDS`. With `knows_caller` a `HostCall` goes before the arguments."""

    params: tuple[str, ...]
    results: tuple[str, ...]
    knows_caller: bool


def signature_of(
    function: Callable[..., Any], name: str, params: Sequence[str] | None, results: Sequence[str] | None
) -> Signature:
    """Return the signature of the host function `name`.

    What `params` and `results` say counts, else the annotations do. Raises `TypeError` in one line for an annotation
    that has no meaning between a guest and Python, or a function that cannot be called that way.
    """
    if not callable(function):
        raise TypeError(f"host function {name}: {function!r} cannot be called")
    given: dict[str, Any] | None = None
    returns: Any = inspect.Signature.empty
    try:
        signature = inspect.signature(function, eval_str=params is None or results is None)
        given = dict(signature.parameters)
        returns = signature.return_annotation
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        if params is None or results is None:
            raise TypeError(f"host function {name}: its annotations cannot be read: {error}") from None
    except ValueError:
        if params is None or results is None:
            raise TypeError(f"host function {name} has no signature to be read; say params= and results=") from None
    knows_caller = False
    if given:
        first = next(iter(given))
        knows_caller = given[first].annotation in (HostCall, "HostCall", "wasmq.HostCall")
        if knows_caller:
            del given[first]
    takes = _said(name, "params", params) if params is not None else _params(name, given or {})
    gives = _said(name, "results", results) if results is not None else _results(name, returns)
    if not {"bytes", "str"}.isdisjoint(gives) and len(gives) > 1:
        raise TypeError(f"host function {name}: bytes or str can only be the one result there is")
    if given is not None:
        _check_callable(name, list(given.values()), len(takes))
    return Signature(takes, gives, knows_caller)


def _said(name: str, what: str, kinds: Sequence[str]) -> tuple[str, ...]:
    if isinstance(kinds, str):
        raise TypeError(f"host function {name}: {what}= wants a sequence such as ({kinds!r},)")
    for kind in kinds:
        if kind not in KINDS:
            raise TypeError(f"host function {name}: {what}= has {kind!r}; there are {', '.join(KINDS)}")
    return tuple(kinds)


def _params(name: str, given: dict[str, inspect.Parameter]) -> tuple[str, ...]:
    kinds = []
    for parameter in given.values():
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is not parameter.empty:
            continue
        if parameter.annotation is HostCall:
            raise TypeError(f"host function {name}: HostCall can only be the first parameter, not {parameter.name!r}")
        kinds.append(_kind(name, f"parameter {parameter.name!r}", parameter.annotation))
    return tuple(kinds)


def _results(name: str, returns: Any) -> tuple[str, ...]:
    if returns in (None, type(None)):
        return ()
    if typing.get_origin(returns) is tuple:
        parts = typing.get_args(returns)
        if Ellipsis in parts:
            _refuse(name, "the result", returns)
        return tuple(_kind(name, f"result {number}", part) for number, part in enumerate(parts, 1))
    return (_kind(name, "the result", returns),)


def _kind(name: str, what: str, annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        none = ", or None for no result" if what == "the result" else ""
        raise TypeError(f"host function {name}: {what} has no annotation; {_WAY_OUT}{none}")
    if typing.get_origin(annotation) is Annotated:
        for note in annotation.__metadata__:
            if isinstance(note, _Core):
                return str(note)
        return _kind(name, what, annotation.__origin__)
    try:
        kind = _PLAIN.get(annotation)
    except TypeError:  # unhashable
        kind = None
    return kind or _refuse(name, what, annotation)


def _refuse(name: str, what: str, annotation: Any) -> NoReturn:
    plain = isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias)
    shown = annotation.__name__ if plain else repr(annotation)[:80]
    raise TypeError(f"host function {name}: {what} is annotated {shown}; {_WAY_OUT}")


def _check_callable(name: str, parameters: list[inspect.Parameter], count: int) -> None:
    """Raise `TypeError` unless a function takes so many arguments by position, and needs nothing else."""
    known = 0
    needed = 0
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            known = max(known, count)
        elif parameter.kind is parameter.KEYWORD_ONLY:
            if parameter.default is parameter.empty:
                raise TypeError(f"host function {name}: arguments come by position, {parameter.name!r} takes none")
        elif parameter.kind is not parameter.VAR_KEYWORD:
            known += 1
            needed += parameter.default is parameter.empty
    if not needed <= count <= known:
        raise TypeError(f"host function {name}: {count} arguments are to come, it takes {known}")
