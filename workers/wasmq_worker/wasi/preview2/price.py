"""What a value costs that goes into or out of a guest's memory, in bytes of `World.moved`.

Each byte of a string or of a list of bytes is one, each item of another list 8 and what is in it, as the buffers in a
vector of preview 1 are. Anything else is free: it is a few words, and the call itself was paid for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from wasmq_worker.wasi.preview2.outcome import Ok

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmq_worker.wasi.preview2.wit import Type

    Price = Callable[[Any], int]

_ITEM: Final = 8


def pricer(kind: Type | None) -> Price | None:
    """Return what gives the price of a value of this type; None when all of them are free."""
    if kind is None:
        return None
    match kind.kind:
        case "string":
            return _string
        case "list":
            return _list(kind)
    inner = [(name, pricer(part)) for name, part in kind.parts]
    prices = [(index, name, price) for index, (name, price) in enumerate(inner) if price is not None]
    if not prices:
        return None
    match kind.kind:
        case "option":
            only = prices[0][2]
            return lambda value: 0 if value is None else only(value)
        case "tuple":
            return lambda value: sum(price(value[index]) for index, _, price in prices)
        case "record":
            return lambda value: sum(price(value[name]) for _, name, price in prices)
    named = {name: price for _, name, price in prices}
    if kind.kind == "result":
        return lambda value: _one(named, "ok" if isinstance(value, Ok) else "err", value.value)
    return lambda value: _one(named, value.name, value.value)


def _string(value: str) -> int:
    return len(value) if value.isascii() else len(value.encode())


def _list(kind: Type) -> Price:
    item = kind.parts[0][1]
    if item is not None and item.kind == "u8":
        return len
    price = pricer(item)
    if price is None:
        return lambda value: _ITEM * len(value)
    return lambda value: _ITEM * len(value) + sum(map(price, value))


def _one(prices: dict[str, Price], name: str, value: Any) -> int:
    price = prices.get(name)
    return 0 if price is None else price(value)
