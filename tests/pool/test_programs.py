"""The numbers of what workers run: artifacts once each, links on top, nothing kept for ever."""

from pathlib import Path

import pytest

from wasmq.errors import UnknownModule
from wasmq.job import Call
from wasmq.modules import Module
from wasmq.pool import programs
from wasmq.pool.programs import Programs
from wasmq.types import Extern, FunctionType, Import
from wasmq_worker.protocol import HostImport, Link, Map, Part, Wire

VOID = FunctionType((), ())


def make_module(digest, *imports, counted=True):
    """A module that exports f and imports f from each of the names."""
    return Module(
        digest=digest,
        kind="module",
        exports=(Extern("e", FunctionType(("i32",), ())), Extern("f", VOID)),
        imports=tuple(Import(name, "f", VOID) for name in imports),
        offers=(None,) * len(imports),
        size=1,
        artifact=Path(f"/artifacts/{digest}{counted}"),
        counted=counted,
        start=False,
        memory=0,
        exported_memory=-1,
    )


@pytest.fixture
def modules():
    """What the library has: a user of two modules, of which one uses the other; pooled ones compiled twice."""
    made = [make_module("main", "b", counted=False), make_module("a", counted=False), make_module("b", "a")]
    return {module.digest: module for module in made}


@pytest.fixture
def library(modules):
    """Numbers for these modules; all of them can be linked."""
    counted = {
        digest: module if module.counted else make_module(digest, *[i.module for i in module.imports])
        for digest, module in modules.items()
    }
    return Programs(modules.__getitem__, counted.__getitem__)


def test_a_forgotten_module_takes_its_links_along(library):
    """Their numbers are never used again; others keep theirs."""
    main, a, linked = library.of(Call("main", "f")), library.of(Call("a", "f")), library.of(LINKED)
    gone = {linked.number, main.number, linked.artifacts[-1][0]}
    library.forget("main")
    assert set(library.forgotten()) == gone
    assert library.forgotten() == []
    assert library.of(Call("a", "f")).number == a.number
    again = library.of(LINKED)
    assert again.number not in gone
    assert [number for number, *_ in again.artifacts[:-1]] == [number for number, *_ in linked.artifacts[:-1]]


LINKED = Call("main", "f", (), None, (("a", "a"), ("b", "b")))


def test_a_linked_call_maps_its_artifacts_and_then_links_them(library):
    """Artifacts come first, in the order of instantiation; the wires name exports by their places."""
    mapped = set()
    program = library.of(LINKED)
    frames = program.frames(mapped)
    assert [type(frame) for frame in frames] == [Map, Map, Map, Link]
    assert all(frame.counted for frame in frames[:3])
    a, b, main = [frame.module for frame in frames[:3]]
    assert frames[3] == Link(
        program.number,
        (
            Part(a, "a", ()),
            Part(b, "b", (Wire("a", "f", 0, 1),)),
            Part(main, "", (Wire("b", "f", 1, 1),)),
        ),
    )
    assert mapped == {a, b, main, program.number}
    assert len({a, b, main, program.number}) == 4


def test_what_is_mapped_is_not_mapped_again(library):
    """The artifact of a counted module serves plain jobs and linked ones; a pooled one has two."""
    mapped = set()
    plain_b, plain_main = library.of(Call("b", "f")), library.of(Call("main", "f"))
    for program in (plain_b, plain_main):
        program.frames(mapped)
    frames = library.of(LINKED).frames(mapped)
    assert plain_b.number not in [frame.module for frame in frames]
    assert plain_main.number not in [frame.module for frame in frames]
    assert [type(frame) for frame in frames] == [Map, Map, Link]
    assert library.of(LINKED) is library.of(LINKED)


def test_the_module_behind_a_number_is_found(library, modules):
    """So that one that cannot be mapped can be compiled again, for the engine it was compiled for."""
    program = library.of(LINKED)
    found = [library.mapped(number) for number, *_ in program.artifacts]
    assert [module.digest for module in found] == ["a", "b", "main"]
    assert all(module.counted for module in found)
    assert library.mapped(library.of(Call("main", "f")).number) is modules["main"]
    assert library.mapped(999) is None


def test_a_module_compiled_again_is_linked_anew(modules):
    """The old link is forgotten, and only the new artifact is mapped."""
    counted = {digest: make_module(digest, *[i.module for i in each.imports]) for digest, each in modules.items()}
    library = Programs(modules.__getitem__, counted.__getitem__)
    mapped = set()
    before = library.of(LINKED)
    before.frames(mapped)
    counted["a"] = make_module("a")
    after = library.of(LINKED)
    assert after.number != before.number
    assert library.forgotten() == [before.number]
    assert library.forgotten() == []
    assert [type(frame) for frame in after.frames(mapped)] == [Map, Link]


def test_combinations_are_forgotten_when_they_are_many(library, monkeypatch):
    """The one unused longest goes first."""
    monkeypatch.setattr(programs, "KEPT", 2)
    calls = [Call("main", "f", (), None, (("a", "a"), ("b", "b"), (f"x{place}", "a"))) for place in range(3)]
    numbers = [library.of(call).number for call in calls[:2]]
    library.of(calls[0])
    library.of(calls[2])
    assert library.forgotten() == [numbers[1]]
    assert library.of(calls[0]).number == numbers[0]


def test_a_module_that_was_not_compiled_for_linking_is_an_error(modules):
    """Submission sees to it; what slips through is said, not run on the wrong engine."""

    def counted(digest):
        raise UnknownModule(digest)

    with pytest.raises(UnknownModule):
        Programs(modules.__getitem__, counted).of(LINKED)


def test_host_functions_that_come_later_reach_the_workers(modules):
    """A module that imports them is mapped again, under a number of its own, and only then."""
    offered = {}
    library = Programs(modules.__getitem__, modules.__getitem__, lambda module: offered.get(module.digest, ()))
    before = library.of(Call("main", "f"))
    offered["other"] = (HostImport(0, "env", "f", (), (), 0, 1),)
    assert library.of(Call("main", "f")) is before
    offered["main"] = offered["other"]
    after = library.of(Call("main", "f"))
    assert after.number != before.number
    [frame] = after.frames({before.number})
    assert (frame.module, frame.host) == (after.number, offered["main"])
    assert library.of(Call("main", "f")) is after
