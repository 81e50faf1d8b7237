"""A component without a program: calls the functions one by one, and checks every value against its WIT type."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from wasmq_worker.wasi.preview2 import INTERFACES, Case, Err, Ok, State, wit

from ..adapter import make_world

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmq_worker.wasi import World
    from wasmq_worker.wasi.preview2.wit import Type

parse = cache(wit.parse)
RANGES = {f"u{bits}": (0, (1 << bits) - 1) for bits in (8, 16, 32, 64)} | {
    f"s{bits}": (-(1 << bits - 1), (1 << bits - 1) - 1) for bits in (8, 16, 32, 64)
}
FOLLOW = frozenset(("symlink-follow",))
READ_WRITE = frozenset(("read", "write"))
CLOSED = Case("closed")
OPEN_FLAGS = {"c": "create", "d": "directory", "x": "exclusive", "t": "truncate"}


class Refused(Exception):
    """A function returned an error; it is the only argument."""


class Component:
    """Every method is one call, or raises `Refused` with the value of the error."""

    def __init__(self, world: World | None = None, **settings: Any) -> None:
        self.world = world or make_world(**settings)
        self.state = State(self.world)
        self.preopens = {name: number for number, name in self.call("filesystem/preopens", "get-directories")}
        self.root = self.preopens["/"]

    def raw(self, interface: str, name: str, *args: Any) -> Any:
        """Call a function and return what it does, of the type that it says."""
        function = INTERFACES[f"wasi:{interface}"].functions[name]
        assert len(args) == len(function.params)
        for param, arg in zip(function.params, args, strict=True):
            assert conforms(parse(param), arg), (name, arg)
        value = function.call(self.state, *args)
        assert value is None if not function.result else conforms(parse(function.result), value), (name, value)
        return value

    def call(self, interface: str, name: str, *args: Any) -> Any:
        """Call a function and return the value of its result, if that is what it returns."""
        value = self.raw(interface, name, *args)
        if isinstance(value, Err):
            raise Refused(value.value)
        return value.value if isinstance(value, Ok) else value

    def drop(self, interface: str, resource: str, number: int) -> None:
        INTERFACES[f"wasi:{interface}"].resources[resource](self.state, number)

    def file(self, name: str, descriptor: int, *args: Any) -> Any:
        """Call a method of a descriptor."""
        return self.call("filesystem/types", f"[method]descriptor.{name}", descriptor, *args)

    def input(self, name: str, stream: int, *args: Any) -> Any:
        """Call a method of an input stream."""
        return self.call("io/streams", f"[method]input-stream.{name}", stream, *args)

    def output(self, name: str, stream: int, *args: Any) -> Any:
        """Call a method of an output stream."""
        return self.call("io/streams", f"[method]output-stream.{name}", stream, *args)

    def open(self, path: str, letters: str = "", flags: frozenset[str] = READ_WRITE, *, at: int | None = None) -> int:
        """Open with the letters of c(reate), d(irectory), x(exclusive), t(runcate), f(ollow)."""
        wanted = frozenset(OPEN_FLAGS[letter] for letter in letters if letter != "f")
        found: int = self.file(
            "open-at",
            self.root if at is None else at,
            FOLLOW if "f" in letters else frozenset(),
            path,
            wanted,
            frozenset(("read",)) if "d" in letters else flags,
        )
        return found

    def close(self, descriptor: int) -> None:
        self.drop("filesystem/types", "descriptor", descriptor)

    def make(self, path: str, data: bytes = b"") -> None:
        """Make a file, or write over one."""
        descriptor = self.open(path, "ctf")
        assert self.file("write", descriptor, data, 0) == len(data)
        self.close(descriptor)

    def contents(self, path: str) -> bytes:
        """Return what is in a file, read through a stream."""
        descriptor = self.open(path, "f", frozenset(("read",)))
        stream = self.file("read-via-stream", descriptor, 0)
        self.close(descriptor)
        data = self.drain(stream)
        self.drop("io/streams", "input-stream", stream)
        return data

    def drain(self, stream: int) -> bytes:
        """Return all that is left in a stream."""
        data = b""
        while True:
            try:
                data += self.input("read", stream, 1 << 40)
            except Refused as refused:
                if refused.args == (CLOSED,):
                    return data
                raise

    def names(self, path: str = ".") -> list[str]:
        """Return all names in a directory in order."""
        descriptor = self.open(path, "df")
        found = self.names_in(descriptor)
        self.close(descriptor)
        return found

    def names_in(self, descriptor: int) -> list[str]:
        """Return all names in an open directory in order."""
        stream = self.file("read-directory", descriptor)
        found = []
        while (entry := self.entry(stream)) is not None:
            found.append(entry["name"])
        self.drop("filesystem/types", "directory-entry-stream", stream)
        return found

    def entry(self, stream: int) -> Any:
        """Return the next entry of a stream of them."""
        return self.call("filesystem/types", "[method]directory-entry-stream.read-directory-entry", stream)

    def failure(self, case: Case) -> str:
        """Return the file system's name of what made a stream fail, and drop the error."""
        name, error = case
        assert name == "last-operation-failed"
        code: str = self.call("filesystem/types", "filesystem-error-code", error)
        assert self.call("io/error", "[method]error.to-debug-string", error) == code
        self.drop("io/error", "error", error)
        return code


def conforms(kind: Type, value: Any) -> bool:
    """Return whether a Python value is what the contract has for a WIT type."""
    parts = dict(kind.parts)
    match kind.kind:
        case "bool":
            return type(value) is bool
        case "string":
            return type(value) is str and bool(value.encode() or True)
        case "list" if kind.parts[0][1] == ("u8", ()):
            return type(value) is bytes
        case "list":
            (_, item) = kind.parts[0]
            return type(value) is list and all(item is not None and conforms(item, each) for each in value)
        case "option":
            (_, item) = kind.parts[0]
            return value is None or (item is not None and conforms(item, value))
        case "tuple":
            items = [part for _, part in kind.parts if part is not None]
            return (
                type(value) is tuple
                and len(value) == len(items)
                and all(conforms(item, each) for item, each in zip(items, value, strict=True))
            )
        case "result":
            part = parts["ok" if type(value) is Ok else "err"]
            if type(value) not in (Ok, Err):
                return False
            return value.value is None if part is None else conforms(part, value.value)
        case "record":
            return (
                type(value) is dict
                and value.keys() == parts.keys()
                and all(part is not None and conforms(part, value[name]) for name, part in kind.parts)
            )
        case "variant":
            if type(value) is not Case or value.name not in parts:
                return False
            part = parts[value.name]
            return value.value is None if part is None else conforms(part, value.value)
        case "enum":
            return type(value) is str and value in parts
        case "flags":
            return type(value) is frozenset and value <= parts.keys()
        case "own" | "borrow":
            return type(value) is int and 0 <= value < 1 << 32
    least, most = RANGES[kind.kind]
    return type(value) is int and least <= value <= most


def refused(call: Callable[[], object]) -> Any:
    """Return the value of the error that a call ends with."""
    with pytest.raises(Refused) as caught:
        call()
    return caught.value.args[0]
