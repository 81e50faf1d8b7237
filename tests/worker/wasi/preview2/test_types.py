"""The text of WIT types, and what the table of functions says of itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmq_worker.wasi.preview2 import INTERFACES, Case, Err, Ok
from wasmq_worker.wasi.preview2.codes import ERROR_CODE
from wasmq_worker.wasi.preview2.interface import named
from wasmq_worker.wasi.preview2.price import pricer
from wasmq_worker.wasi.preview2.wit import PRIMITIVES, Type, parse

FUNCTIONS = [
    pytest.param(function, id=f"{interface}#{name}")
    for interface, found in INTERFACES.items()
    for name, function in found.functions.items()
]

words = st.sampled_from(["a", "b2", "some-name", "DNS-error", "list", "u8"])


def several(part: st.SearchStrategy[Type | None]) -> st.SearchStrategy[tuple[tuple[str, Type | None], ...]]:
    return st.lists(st.tuples(words, part), min_size=1, max_size=3).map(tuple)


def larger(inner: st.SearchStrategy[Type]) -> st.SearchStrategy[Type]:
    unnamed = st.lists(inner.map(lambda part: ("", part)), min_size=1, max_size=3).map(tuple)
    maybe = st.none() | inner
    return st.one_of(
        st.builds(Type, st.sampled_from(["list", "option"]), inner.map(lambda part: (("", part),))),
        st.builds(Type, st.just("tuple"), unnamed),
        st.builds(Type, st.just("result"), st.tuples(maybe, maybe).map(lambda two: (("ok", two[0]), ("err", two[1])))),
        st.builds(Type, st.just("record"), several(inner)),
        st.builds(Type, st.just("variant"), several(maybe)),
    )


types = st.recursive(
    st.one_of(
        st.sampled_from(sorted(PRIMITIVES)).map(Type),
        st.builds(Type, st.sampled_from(["enum", "flags"]), several(st.none())),
        st.builds(Type, st.sampled_from(["own", "borrow"]), words.map(lambda name: ((name, None),))),
    ),
    larger,
    max_leaves=10,
)


@given(types)
def test_a_type_and_its_text_say_the_same(kind: Type) -> None:
    """What is written is read back, and written the same way again."""
    assert parse(str(kind)) == kind
    assert str(parse(str(kind).replace(",", " , ").replace("<", " < "))) == str(kind)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("result", "result"),
        ("result<_ , u8>", "result<_,u8>"),
        ("result<u8>", "result<u8>"),
        ("record { a: u8, b: list<string>, }", "record{a:u8,b:list<string>}"),
        ("variant { a(time), b }", "variant{a(record{seconds:u64}),b}"),
        ("tuple<own<thing>, borrow<thing>>", "tuple<own<thing>,borrow<thing>>"),
    ],
)
def test_texts_become_canonical(text: str, canonical: str) -> None:
    """Spaces go, and names of types give way to what they stand for."""
    assert str(parse(text, named(time="record { seconds: u64 }"))) == canonical


@pytest.mark.parametrize(
    "text",
    [
        *("", "u9", "list", "list<u8", "list<u8>>", "list<u8,u8>", "tuple<>", "record{}", "record{a}", "enum{a(u8)}"),
        *("result<>", "own<>", "own<list<u8>>", "variant{a(}", "u8 u8", "string!", "_", "enum{:}", "thing"),
    ],
)
def test_what_is_no_type_is_refused(text: str) -> None:
    """The error names the text."""
    with pytest.raises(ValueError, match="not a WIT type") as caught:
        parse(text)
    assert repr(text) in str(caught.value)


def test_a_bottomless_type_is_refused() -> None:
    """A text from elsewhere does not exhaust the stack."""
    with pytest.raises(ValueError, match="nested deeper"):
        parse("list<" * 100_000)


@pytest.mark.parametrize(
    ("text", "value", "price"),
    [
        ("string", "ä12", 4),
        ("list<u8>", b"123", 3),
        ("list<u16>", [1, 2], 16),
        ("list<string>", ["a", ""], 17),
        ("option<string>", None, 0),
        ("option<string>", "abc", 3),
        ("tuple<u8, string, list<u8>>", (1, "ab", b"c"), 3),
        ("record { a: u8, b: string }", {"a": 1, "b": "xyz"}, 3),
        ("variant { a(string), b, c(u8) }", Case("a", "xy"), 2),
        ("variant { a(string), b, c(u8) }", Case("b"), 0),
        ("variant { a(string), b, c(u8) }", Case("c", 1), 0),
        ("result<string, list<u8>>", Ok("abc"), 3),
        ("result<string, list<u8>>", Err(b"a"), 1),
        ("result<string>", Err(), 0),
    ],
)
def test_what_a_value_costs(text: str, value: object, price: int) -> None:
    """The bytes of what has a length, and 8 for each item of a list; what has none costs nothing."""
    found = pricer(parse(text))
    assert found is not None
    assert found(value) == price


@pytest.mark.parametrize("text", ["u64", "enum{string}", "tuple<u8,bool>", "result", "own<string>", "option<char>"])
def test_what_costs_nothing(text: str) -> None:
    """Types without strings and lists have no price at all."""
    assert pricer(parse(text)) is None


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_function_says_its_type(function: object) -> None:
    """The texts of parameters and result are canonical types."""
    params, result = function.params, function.result  # type: ignore[attr-defined]
    for text in (*params, *([result] if result else [])):
        assert str(parse(text)) == text


def test_every_resource_that_is_mentioned_can_be_dropped() -> None:
    """A resource has one name in all interfaces; a method's `self` is a borrow of its own resource."""
    names = [name for interface in INTERFACES.values() for name in interface.resources]
    assert len(set(names)) == len(names)
    for interface in INTERFACES.values():
        for name, function in interface.functions.items():
            for text in (*function.params, function.result or "bool"):
                assert resources(parse(text)) <= set(names)
            if name.startswith("[method]"):
                resource = name.removeprefix("[method]").partition(".")[0]
                assert function.params[0] == f"borrow<{resource}>"
                assert resource in interface.resources


def resources(kind: Type) -> set[str]:
    if kind.kind in ("own", "borrow"):
        return {kind.parts[0][0]}
    return {name for _, part in kind.parts if part is not None for name in resources(part)}


def test_the_interfaces_are_those_of_the_specification() -> None:
    """All of `wasi:cli/imports` is there, and what `fetch` needs, with as many functions as each interface has."""
    assert {name.removeprefix("wasi:"): len(found.functions) for name, found in INTERFACES.items()} == {
        "cli/environment": 3,
        "cli/exit": 2,
        "cli/stdin": 1,
        "cli/stdout": 1,
        "cli/stderr": 1,
        "cli/terminal-input": 0,
        "cli/terminal-output": 0,
        "cli/terminal-stdin": 1,
        "cli/terminal-stdout": 1,
        "cli/terminal-stderr": 1,
        "io/error": 1,
        "io/poll": 3,
        "io/streams": 15,
        "clocks/monotonic-clock": 4,
        "clocks/wall-clock": 2,
        "random/random": 2,
        "random/insecure": 2,
        "random/insecure-seed": 1,
        "filesystem/types": 29,
        "filesystem/preopens": 1,
        "sockets/network": 1,
        "sockets/instance-network": 1,
        "sockets/ip-name-lookup": 3,
        "sockets/tcp": 28,
        "sockets/tcp-create-socket": 1,
        "sockets/udp": 18,
        "sockets/udp-create-socket": 1,
        "http/types": 51,
        "http/outgoing-handler": 1,
    }


def test_only_what_polls_may_wait() -> None:
    """Whatever else may block in WIT has nothing to wait for here."""
    waiting = [name for found in INTERFACES.values() for name, function in found.functions.items() if function.waits]
    assert waiting == ["poll", "[method]pollable.block"]


def test_the_error_codes_are_in_the_order_of_the_specification() -> None:
    """What a component gets is the place in that order, so a swap would be a wrong error."""
    codes = [name for name, _ in parse(ERROR_CODE).parts]
    assert len(codes) == 37
    assert codes[:5] == ["access", "would-block", "already", "bad-descriptor", "busy"]
    assert codes[-5:] == ["pipe", "read-only", "invalid-seek", "text-file-busy", "cross-device"]
    # Alphabetical by POSIX name, but for those that WIT calls differently.
    assert codes.index("loop") < codes.index("too-many-links") < codes.index("message-size")
