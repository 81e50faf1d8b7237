"""The types of all functions, held against those that the engine's own WASI 0.2 has: it links only what is the same."""

from __future__ import annotations

from itertools import count

import pytest
import wasmtime
from wasmtime import component as engine

from wasmq_worker.wasi.preview2 import INTERFACES
from wasmq_worker.wasi.preview2.wit import Type, parse

OWNERS = {resource: name for name, found in INTERFACES.items() for resource in found.resources}
# The engine has these too, but only for those who ask for what is not settled yet.
UNSTABLE = {"exit-with-code", "network-error-code"}
VERSION = "0.2.3"


class Instance:
    """The type of an instance as text: what an interface must have so that a component can import it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: list[str] = []
        self.outer: set[str] = set()
        self._numbers = count()
        self._known: dict[Type, str] = {}

    def text(self) -> str:
        return f'(import "{self.name}@{VERSION}" (instance {" ".join(self.lines)}))'

    def resource(self, resource: str) -> str:
        """Return the index of a resource, exported first: its own, or that of an interface imported before."""
        kind = Type("resource", ((resource, None),))
        if kind not in self._known:
            index = self._known[kind] = f"$r{next(self._numbers)}"
            bound = "(sub resource)"
            if OWNERS[resource] != self.name:
                self.outer.add(resource)
                self.lines.append(f"(alias outer 1 ${resource} (type {index}o))")
                bound = f"(eq {index}o)"
            self.lines.append(f'(export "{resource}" (type {index} {bound}))')
        return self._known[kind]

    def type(self, kind: Type) -> str:
        """Return a type as text; one that must have a name is exported under some name first."""
        inner = {name: None if part is None else self.type(part) for name, part in kind.parts}
        names = " ".join(f'"{name}"' for name, _ in kind.parts)
        match kind.kind:
            case "list" | "option" | "tuple":
                return f"({kind.kind} {' '.join(self.type(part) for _, part in kind.parts if part is not None)})"
            case "own" | "borrow":
                return f"({kind.kind} {self.resource(kind.parts[0][0])})"
            case "result":
                error = f"(error {inner['err']})" if inner["err"] else ""
                return f"(result {inner['ok'] or ''} {error})"
            case "enum" | "flags":
                return self.named(kind, names)
            case "record":
                return self.named(kind, " ".join(f'(field "{name}" {part})' for name, part in inner.items()))
            case "variant":
                return self.named(kind, " ".join(f'(case "{name}" {part or ""})' for name, part in inner.items()))
        return kind.kind

    def named(self, kind: Type, inner: str) -> str:
        if kind not in self._known:
            index = self._known[kind] = f"$t{next(self._numbers)}"
            self.lines.append(f"(type {index}t ({kind.kind} {inner}))")
            self.lines.append(f'(export "{index[1:]}" (type {index} (eq {index}t)))')
        return self._known[kind]

    def function(self, name: str, params: tuple[str, ...], result: str) -> None:
        named = [f"p{index}" for index in range(len(params))]
        if name.startswith("[method]"):
            named[0] = "self"
        types = [self.type(parse(param)) for param in params]
        given = " ".join(f'(param "{each}" {kind})' for each, kind in zip(named, types, strict=True))
        returned = f"(result {self.type(parse(result))})" if result else ""
        self.lines.append(f'(export "{name}" (func {given} {returned}))')


def component(interface: str, *, wrong: str = "") -> str:
    """Return a component that imports all functions of an interface, one with a parameter too many if so wished."""
    main = Instance(interface)
    for resource in INTERFACES[interface].resources:
        main.resource(resource)
    for name, function in INTERFACES[interface].functions.items():
        if name not in UNSTABLE:
            main.function(name, (*function.params, "u8") if name == wrong else function.params, function.result)
    owners: dict[str, Instance] = {}
    aliases = []
    for resource in sorted(main.outer):
        owner = owners.setdefault(OWNERS[resource], Instance(OWNERS[resource]))
        owner.resource(resource)
        aliases.append(f'(alias export ${label(owner)} "{resource}" (type ${resource}))')
    before = [each.text().replace("(instance", f"(instance ${label(each)}", 1) for each in owners.values()]
    return f"(component {' '.join(before)} {' '.join(aliases)} {main.text()})"


def label(instance: Instance) -> str:
    return instance.name.translate(str.maketrans(":/", "--"))


def link(text: str) -> None:
    configured = wasmtime.Engine()
    linker = engine.Linker(configured)
    linker.add_wasip2()
    linker.add_wasi_http()
    store = wasmtime.Store(configured)
    store.set_wasi(wasmtime.WasiConfig())
    linker.instantiate(store, engine.Component(configured, wasmtime.wat2wasm(text)))


@pytest.mark.parametrize("interface", INTERFACES)
def test_the_engine_links_a_component_with_our_types(interface: str) -> None:
    """No function is missing there, and none has another type."""
    link(component(interface))


def test_the_engine_would_object() -> None:
    """A function with a parameter too many is one that it does not have."""
    with pytest.raises(wasmtime.WasmtimeError, match="initial-cwd"):
        link(component("wasi:cli/environment", wrong="initial-cwd"))
