"""Components that lie: every function with every kind of value, in any order."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from wasmq_worker.wasi import Exit, Sleep, Violated
from wasmq_worker.wasi.preview2 import INTERFACES, Case, Err, Ok
from wasmq_worker.wasi.preview2.state import HANDLES_MAX
from wasmq_worker.wasi.preview2.wit import Type, parse

from .component import RANGES, Component

PATHS = ("file", "dir", "dir/below", "link", "new", "dir/new/", ".", "..", "/", "", "a\0b", "x" * 300, "up/file")
handles = st.integers(0, 9) | st.integers(0, (1 << 32) - 1)


def values(kind: Type) -> st.SearchStrategy[Any]:
    """Return a strategy for what a component can pass where a type is wanted."""
    parts = [(name, st.none() if part is None else values(part)) for name, part in kind.parts]
    match kind.kind:
        case "bool":
            return st.booleans()
        case "string":
            return st.sampled_from(PATHS) | st.text(max_size=20)
        case "list" if kind.parts[0][1] == Type("u8"):
            return st.binary(max_size=50) | st.sampled_from([bytes(4097), bytes((1 << 16) + 1)])
        case "list":
            return st.lists(parts[0][1], max_size=4)
        case "option":
            return st.none() | parts[0][1]
        case "tuple":
            return st.tuples(*(part for _, part in parts))
        case "result":
            return st.builds(Ok, parts[0][1]) | st.builds(Err, parts[1][1])
        case "record":
            return st.fixed_dictionaries(dict(parts))
        case "variant":
            return st.one_of([st.builds(Case, st.just(name), part) for name, part in parts])
        case "enum":
            return st.sampled_from([name for name, _ in parts])
        case "flags":
            return st.frozensets(st.sampled_from([name for name, _ in parts]))
        case "own" | "borrow":
            return handles
    least, most = RANGES[kind.kind]
    return st.integers(0, 20) | st.sampled_from([most, most // 2, min(most, 1 << 16)]) | st.integers(least, most)


def call(interface: str, name: str) -> st.SearchStrategy[tuple[str, str, tuple[Any, ...]]]:
    params = INTERFACES[f"wasi:{interface}"].functions[name].params
    return st.tuples(st.just(interface), st.just(name), st.tuples(*(values(parse(param)) for param in params)))


def calls_of(*interfaces: str) -> list[st.SearchStrategy[tuple[str, str, tuple[Any, ...]]]]:
    return [call(each, name) for each in interfaces for name in INTERFACES[f"wasi:{each}"].functions]


EVERY = tuple(name.removeprefix("wasi:") for name in INTERFACES)
RESOURCES = [(name.removeprefix("wasi:"), each) for name, found in INTERFACES.items() for each in found.resources]
calls = st.one_of(
    # Half of the calls are such as make and use files and streams, or few would ever meet a good handle.
    st.one_of(calls_of("filesystem/types", "io/streams", "io/poll")),
    st.one_of(calls_of(*EVERY)),
    st.sampled_from(RESOURCES).flatmap(lambda each: st.tuples(st.just(each[0]), st.just(each[1]), handles)),
)


@given(calls=st.lists(calls, min_size=1, max_size=40), deterministic=st.booleans())
@settings(max_examples=200, deadline=None)
def test_no_value_is_too_strange(calls: list[tuple[str, str, Any]], deterministic: bool) -> None:
    """A call returns what its type says, or parks or ends the guest, and the limits hold, whatever it is given."""
    component = Component(
        stdin=b"input",
        files={"file": b"x", "dir/below": b"y"},
        quota=5000,
        max_entries=10,
        output_cap=100,
        deterministic=deterministic,
    )
    component.file("symlink-at", component.root, "file", "link")
    component.file("symlink-at", component.root, "..", "up")
    for interface, name, args in calls:
        before = component.world.moved
        try:
            if isinstance(args, tuple):
                component.raw(interface, name, *args)
            else:
                component.drop(interface, name, args)
        except Sleep:
            assert INTERFACES[f"wasi:{interface}"].functions[name].waits
        except Exit:
            assert interface == "cli/exit"
        except Violated:
            pass
        assert component.world.moved >= before
        assert len(component.state) <= HANDLES_MAX
    tree = component.world.tree
    assert tree.size <= 5000
    assert tree.entries <= 10
    assert len(component.world.stdout) + len(component.world.stderr) <= 100


@given(calls=st.lists(calls, min_size=1, max_size=40))
@settings(max_examples=50, deadline=None)
def test_nothing_stays_when_all_handles_are_dropped(calls: list[tuple[str, str, Any]]) -> None:
    """Whatever was opened, the files with names are then all that counts against the quota."""
    component = Component(files={"file": b"x", "dir/below": b"y"}, quota=5000)
    for interface, name, args in calls:
        try:
            if isinstance(args, tuple):
                component.raw(interface, name, *args)
            else:
                component.drop(interface, name, args)
        except (Exit, Sleep, Violated):
            continue
    for number in range(1, len(calls) + 50):
        for interface, resource in RESOURCES:
            try:
                component.drop(interface, resource, number)
            except Violated:
                continue
    assert len(component.state) == 0
    assert component.world.tree.size == size_of(component)


def size_of(component: Component) -> int:
    """Return the bytes of all files and links that have a name, each once."""
    seen: dict[int, int] = {}
    todo = [component.world.tree.root]
    while todo:
        for _, node in todo.pop().entries.values():
            assert node.opened == 0
            seen[node.inode] = node.size
            if hasattr(node, "entries"):
                todo.append(node)
    return sum(seen.values())
