"""The table of all functions that a component may import, and how a module enters its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from wasmq_worker.wasi.errno import Failed
from wasmq_worker.wasi.preview2 import wit
from wasmq_worker.wasi.preview2.outcome import Err, Ok
from wasmq_worker.wasi.preview2.price import pricer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wasmq_worker.wasi.preview2.handles import Handle
    from wasmq_worker.wasi.preview2.state import State


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
    all functions of this interface whose result has one.
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
        types = [wit.parse(param, self._types) for param in params]
        returned = wit.parse(result, self._types) if result else None
        given = [(index, price) for index, kind in enumerate(types) if (price := pricer(kind)) is not None]
        gained = pricer(returned)
        fallible = returned is not None and returned.kind == "result"
        refusal = self._refusal if returned is not None and dict(returned.parts).get("err") is not None else None

        def enter(body: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(body)
            def call(state: State, *args: Any) -> Any:
                value: Any
                if fallible:
                    try:
                        value = Ok(body(state, *args))
                    except Failed as failed:
                        value = Err(None if refusal is None else refusal(state, failed))
                else:
                    value = body(state, *args)
                for index, price in given:
                    state.world.copied += price(args[index])
                if gained is not None:
                    state.world.copied += gained(value)
                return value

            texts = tuple(map(str, types))
            self._interface.functions[name] = Function(call, waits, texts, "" if returned is None else str(returned))
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
