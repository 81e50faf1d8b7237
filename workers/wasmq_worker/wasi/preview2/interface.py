"""The table of all functions that a component may import, and how a module enters its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from wasmq_worker.wasi.errno import Failed
from wasmq_worker.wasi.preview2 import wit
from wasmq_worker.wasi.preview2.outcome import Case, Err, Ok

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wasmq_worker.wasi.preview2.handles import Handle
    from wasmq_worker.wasi.preview2.state import State

# What one item of a list costs besides its bytes, as a buffer in a vector does in preview 1.
_ITEM: Final = 8


@dataclass(frozen=True, slots=True)
class Function:
    """One function.

    `call` takes the `State` and the parameters and returns the result, None if it has none; it may raise `Exit` and
    `Violated`, and `Sleep` if it `waits`. `params` are the canonical texts of the parameters' types, that of `self`
    first; `result` is that of the result, "" for none. See `wit`.
    """

    call: Callable[..., Any]
    waits: bool
    params: tuple[str, ...]
    result: str


@dataclass(frozen=True, slots=True)
class Interface:
    """The functions of an interface, and what to call with a resource's number when its owner drops it, by WIT name."""

    functions: dict[str, Function] = field(default_factory=dict)
    resources: dict[str, Callable[[State, int], None]] = field(default_factory=dict)


INTERFACES: Final[dict[str, Interface]] = {}


class Declaration:
    """Enters functions and resources in an interface.

    `types` are named types for `wit.parse`. `refusal` turns a `Failed` into the value of the error of a result, for
    all functions of this interface that return one.
    """

    def __init__(
        self,
        name: str,
        types: Mapping[str, wit.Type] | None = None,
        refusal: Callable[[State, Failed], Any] | None = None,
    ) -> None:
        self._interface = INTERFACES.setdefault(name, Interface())
        self._types = types or {}
        self._refusal = refusal

    def function(
        self, name: str, *params: str, result: str = "", waits: bool = False
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Enter a function, with the WIT types of its parameters and result.

        All that it is given and returns is paid for once it returns. If its result is a `result`, what it returns is
        the value of that, and it may raise `Failed`.
        """
        texts = tuple(str(wit.parse(param, self._types)) for param in params)
        returned = str(wit.parse(result, self._types)) if result else ""
        priced = any("list<" in text or "string" in text for text in (*texts, returned))
        fallible = returned.startswith("result")
        refusal = self._refusal

        def enter(body: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(body)
            def call(state: State, *args: Any) -> Any:
                value: Any
                if fallible and refusal is not None:
                    try:
                        value = Ok(body(state, *args))
                    except Failed as failed:
                        value = Err(refusal(state, failed))
                else:
                    value = body(state, *args)
                if priced:
                    state.world.copied += _size(args) + _size(value)
                return value

            self._interface.functions[name] = Function(call, waits, texts, returned)
            return body

        return enter

    def resource(self, name: str, kind: type[Handle]) -> None:
        """Enter a resource, whose numbers stand for objects of a class."""
        self._interface.resources[name] = lambda state, number: state.drop(number, kind)


def named(**texts: str) -> dict[str, wit.Type]:
    """Return types by name, each of which may use those before it; an underscore stands for a hyphen."""
    types: dict[str, wit.Type] = {}
    for name, text in texts.items():
        types[name.replace("_", "-")] = wit.parse(text, types)
    return types


def _size(value: Any) -> int:
    """Return the bytes of all strings and lists in a value, and 8 for each item of what holds several."""
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode())
    if isinstance(value, (Ok, Err, Case)):
        return _size(value.value)
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    if isinstance(value, (list, tuple)):
        return _ITEM * len(value) + sum(map(_size, value))
    return 0
