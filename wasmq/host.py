"""Host functions: what the embedding program offers to guests, at what price, and to whom."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from wasmq.admission import as_value
from wasmq.config import HostFunctionConfig
from wasmq.errors import ConfigError
from wasmq.signatures import signature_of
from wasmq.types import FunctionType, Import, is_value, printable
from wasmq_worker.protocol import BYTES, HostImport, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from wasmq.config import HostConfig
    from wasmq.modules import Module
    from wasmq_worker.protocol import Value

__all__ = ["HostFunction", "HostFunctions", "offer_configured"]

_F = TypeVar("_F", bound="Callable[..., Any]")

EVERYBODY: Final = "*"
"""In place of a tenant's name: all of them."""
MAX_FUNCTIONS: Final = 10_000
_MAX_NAME: Final = 200
_MAX_PRICE: Final = 10**15
_WASI: Final = "wasi_snapshot_preview1"


class HostFunction(msgspec.Struct, frozen=True, eq=False):
    """One function that is offered: how guests know it, what it is, and the tenants that may import it."""

    known: HostImport
    type: FunctionType
    function: Callable[..., Any]
    knows_caller: bool
    is_coroutine: bool
    inline: bool
    tenants: frozenset[str]

    @property
    def name(self) -> str:
        """Both names, as a grant and a metric's label have them: "env.lookup"."""
        return f"{self.known.module}.{self.known.name}"

    def arguments(self, given: tuple[Value, ...]) -> tuple[list[Any], int]:
        """Return a guest's arguments as the function takes them, and the room there is for bytes as a result.

        Raises `ProtocolError` for what no honest worker sends, and `ValueError` for a str that is not UTF-8.
        """
        kinds = self.known.params
        room = 0
        if self.gives_bytes:
            *rest, last = given or (-1,)
            given = tuple(rest)
            if type(last) is not int or not 0 <= last < 2**32:
                raise ProtocolError(f"{self.name}: room of {last!r} bytes")
            room = last
        if len(given) != len(kinds) or not all(map(_fits, kinds, given)):
            raise ProtocolError(f"the arguments of {self.name} are not {', '.join(kinds) or 'none'}")
        arguments: list[Any] = list(given)
        for place, kind in enumerate(kinds):
            if kind == "str":
                try:
                    arguments[place] = arguments[place].decode()
                except UnicodeDecodeError as error:
                    raise ValueError(f"argument {place + 1} is not UTF-8: {error.reason}") from None
        return arguments, room

    @property
    def gives_bytes(self) -> bool:
        """Whether the result goes through the guest's memory."""
        return bool(self.known.results) and self.known.results[0] in BYTES

    def results(self, returned: Any, room: int, most: int) -> tuple[tuple[Value, ...], bytes | None]:
        """Return what the function returned as values, and the bytes of it for which the guest has room.

        Raises `ValueError` saying what came and what was wanted; more than `most` bytes are refused.
        """
        kinds = self.known.results
        if self.gives_bytes:
            data = _as_bytes(returned, kinds[0])
            if len(data) > most:
                raise ValueError(f"returned {len(data)} bytes, the limit is {most} (host.max_bytes)")
            return (len(data),), data[:room]
        if not kinds:
            if returned is not None:
                raise ValueError(f"returned {_shown(returned)}, wants None")
            return (), None
        parts = [returned] if len(kinds) == 1 else returned
        if not isinstance(parts, (tuple, list)) or len(parts) != len(kinds):
            raise ValueError(f"returned {_shown(returned)}, wants a tuple of {len(kinds)}")
        try:
            return tuple([as_value(kind, part) for kind, part in zip(kinds, parts, strict=True)]), None
        except ValueError:
            raise ValueError(f"returned {_shown(returned)}, wants {', '.join(kinds)}") from None


class HostFunctions:
    """All that one program offers. What is offered stays offered, so a module's imports only ever come to be met."""

    def __init__(self, price: int) -> None:
        self._price = price
        self._by_number: list[HostFunction] = []
        self._by_name: dict[str, HostFunction] = {}
        self._supplies: dict[str, tuple[HostFunction, ...]] = {}
        self._imports: dict[str, tuple[HostImport, ...]] = {}

    def offer(
        self,
        module: str,
        name: str,
        *,
        price: int | None = None,
        max_calls: int | None = None,
        tenants: str | Iterable[str] = (),
        inline: bool = False,
        params: Sequence[str] | None = None,
        results: Sequence[str] | None = None,
    ) -> Callable[[_F], _F]:
        """See `Scheduler.host_function`."""
        dotted = self._check_names(module, name)
        fuel = self._price if price is None else _whole(dotted, "price", price, 0, _MAX_PRICE)
        calls = 2**31 - 1 if max_calls is None else _whole(dotted, "max_calls", max_calls, 1, 2**31 - 1)
        to = frozenset((tenants,) if isinstance(tenants, str) else tenants)
        if not all(isinstance(tenant, str) and tenant for tenant in to):
            raise TypeError(f"host function {dotted}: tenants= wants names of tenants, or {EVERYBODY!r} for all")

        def decorate(function: _F) -> _F:
            self._check_names(module, name)
            takes, gives, knows_caller = signature_of(function, dotted, params, results)
            is_coroutine = _is_coroutine(function)
            if inline and is_coroutine:
                raise TypeError(f"host function {dotted}: inline= is for plain functions, a coroutine never blocks")
            known = HostImport(len(self._by_number), module, name, takes, gives, fuel, calls)
            type_ = FunctionType(*known.core())
            offered = HostFunction(known, type_, function, knows_caller, is_coroutine, inline, to)
            self._by_number.append(offered)
            self._by_name[dotted] = offered
            self._supplies.clear()
            self._imports.clear()
            return function

        return decorate

    def find(self, wanted: Import) -> HostFunction | None:
        """Return the function of the names that an import asks for, whatever its type."""
        found = self._by_name.get(f"{wanted.module}.{wanted.name}")
        return found if found is not None and found.known.module == wanted.module else None

    def supply(self, module: Module) -> tuple[HostFunction, ...]:
        """Return the functions that meet imports of a module, each once."""
        supply = self._supplies.get(module.digest)
        if supply is None:
            found = [(wanted, self.find(wanted)) for wanted, _ in module.missing]
            met = [function for wanted, function in found if function is not None and function.type == wanted.type]
            supply = self._supplies[module.digest] = tuple(dict.fromkeys(met))
        return supply

    def imports(self, module: Module) -> tuple[HostImport, ...]:
        """Return the same as a worker is told of it."""
        imports = self._imports.get(module.digest)
        if imports is None:
            imports = self._imports[module.digest] = tuple([function.known for function in self.supply(module)])
        return imports

    def forget(self, digest: str) -> None:
        """Keep nothing of a module that is not loaded any more."""
        self._supplies.pop(digest, None)
        self._imports.pop(digest, None)

    def open_to(self, modules: Iterable[Module], linked: Collection[str] = ()) -> tuple[HostFunction, ...]:
        """Return the functions that a job of these modules can call, each once; `linked` names are met by modules."""
        found = [function for each in modules for function in self.supply(each) if function.known.module not in linked]
        return tuple(dict.fromkeys(found))

    def imported(self, number: int, modules: Iterable[Module], linked: Collection[str] = ()) -> HostFunction:
        """Return a function by its number.

        Raises `ProtocolError` for one that none of the modules imports, or only from a name that is linked.
        """
        found = self._by_number[number] if 0 <= number < len(self._by_number) else None
        if found is None or found not in self.open_to(modules, linked):
            raise ProtocolError(f"a call of host function {number}, which the job does not import")
        return found

    def _check_names(self, module: str, name: str) -> str:
        for part in (module, name):
            if not isinstance(part, str) or not 0 < len(part) <= _MAX_NAME or not part.isprintable():
                raise TypeError(f"host function {module!r} {name!r}: names are printable text of 1 to {_MAX_NAME}")
        dotted = f"{module}.{name}"
        if module == _WASI:
            raise ValueError(f"host function {dotted}: {module} is WASI's own")
        if dotted in self._by_name:
            raise ValueError(f"host function {dotted} is offered already")
        if len(self._by_number) >= MAX_FUNCTIONS:
            raise ValueError(f"host function {dotted}: {MAX_FUNCTIONS} functions are offered already")
        return dotted


def offer_configured(functions: HostFunctions, config: HostConfig) -> None:
    """Offer the functions that the configuration names by import path. Raises `ConfigError`."""
    for dotted, entry in config.functions.items():
        said = HostFunctionConfig(path=entry) if isinstance(entry, str) else entry
        key = f'host.functions."{dotted}"'
        module, dot, name = dotted.rpartition(".")
        if not dot:
            raise ConfigError(f'{key}: not MODULE.NAME, as guests import it, such as "env.lookup"')
        function = _resolve(key, said.path)
        try:
            functions.offer(
                module,
                name,
                price=said.price,
                max_calls=said.max_calls,
                tenants=said.tenants,
                inline=said.inline,
                params=said.params,
                results=said.results,
            )(function)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{key}: {said.path}: {error}") from None


def _resolve(key: str, path: str) -> Any:
    """Return what an import path names. Raises `ConfigError`."""
    module, colon, names = path.partition(":")
    if not colon or not module or not names:
        raise ConfigError(f"{key}: {printable(path)!r} is not an import path such as package.module:function")
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:  # whatever the code of others does when it is imported
        what = "there is no such module" if isinstance(error, ModuleNotFoundError) else "it cannot be imported"
        raise ConfigError(f"{key}: {path}: {what}: {one_line(error)}") from error
    for name in names.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise ConfigError(f"{key}: {path}: {module} has no {names}") from None
    return found


def one_line(error: BaseException, limit: int = 300) -> str:
    """Return an exception's type and text as one line of at most about `limit` characters."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # its own __str__ fails
        text = "(its text cannot be had)"
    return printable(f"{type(error).__name__}: {text}" if text else type(error).__name__, limit)


def _is_coroutine(function: Any) -> bool:
    while isinstance(function, partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _whole(dotted: str, what: str, number: Any, least: int, most: int) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
        raise TypeError(f"host function {dotted}: {what}={number!r} is not a whole number from {least} to {most}")
    return number


def _fits(kind: str, value: Value) -> bool:
    """Return whether a value is one that a worker sends for a parameter."""
    return type(value) is bytes if kind in BYTES else is_value(kind, value)


def _as_bytes(returned: Any, kind: str) -> bytes:
    if kind == "str":
        if isinstance(returned, str):
            try:
                return returned.encode()
            except UnicodeEncodeError:
                raise ValueError(f"returned {_shown(returned)}, which UTF-8 cannot carry") from None
    elif isinstance(returned, (bytes, bytearray, memoryview)):
        return bytes(returned)
    raise ValueError(f"returned {_shown(returned)}, wants {kind}")


def _shown(value: Any) -> str:
    try:
        text = " ".join(repr(value).split())
    except Exception:  # its own __repr__ fails, or it is an int of too many digits
        return f"a {type(value).__name__}"
    return f"{printable(text, 60)} ({type(value).__name__})"
