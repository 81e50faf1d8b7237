"""What a worker says that a component returned is hostile: it is of the function's type, or it is refused."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmq import Case, Err, Ok, Some, wit
from wasmq.wit_json import from_json, to_json
from wasmq.wit_values import pack_arguments, read_result

LABELS = ("a", "b-c", "d")


def types_within(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Types that are made of other types."""
    return st.one_of(
        st.builds(wit.List, inner),
        st.builds(wit.Option, inner),
        st.builds(wit.Result, st.none() | inner, st.none() | inner),
        st.builds(wit.Tuple, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda types: wit.Record(tuple(map(wit.Field, LABELS, types)), "r")
        ),
        st.lists(st.none() | inner, min_size=1, max_size=3).map(
            lambda types: wit.Variant(tuple(map(wit.Case, LABELS, types)), None)
        ),
    )


PRIMITIVES = st.sampled_from(
    ["bool", "s8", "s16", "s32", "s64", "u8", "u16", "u32", "u64", "f32", "f64", "char", "string"]
)
LEAVES = PRIMITIVES | st.just(wit.Enum(LABELS, "e"))
FLAGS = st.integers(1, 70).map(lambda count: wit.Flags(tuple([f"f{n}" for n in range(count)]), None))
TYPES = st.recursive(LEAVES | FLAGS, types_within, max_leaves=8)


def values_of(type_: Any) -> st.SearchStrategy[Any]:
    """Natural values of a type."""
    match type_:
        case "bool":
            return st.booleans()
        case "f32" | "f64":
            return st.floats(width=32 if type_ == "f32" else 64, allow_nan=False)
        case "char":
            return st.characters(exclude_categories=["Cs"])
        case "string":
            return st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
        case str():
            bits = int(type_[1:])
            low = 0 if type_[0] == "u" else -(2 ** (bits - 1))
            return st.integers(low, low + 2**bits - 1)
        case wit.List():
            return st.binary(max_size=4) if type_.element == "u8" else st.lists(values_of(type_.element), max_size=3)
        case wit.Option():
            some = values_of(type_.some)
            return st.none() | (some.map(Some) if isinstance(type_.some, wit.Option) else some)
        case wit.Result():
            ok, err = [st.none() if each is None else values_of(each) for each in (type_.ok, type_.err)]
            return ok.map(Ok) | err.map(Err)
        case wit.Tuple():
            return st.tuples(*map(values_of, type_.items))
        case wit.Record():
            return st.fixed_dictionaries({field.name: values_of(field.type) for field in type_.fields})
        case wit.Variant():
            cases = [
                st.builds(Case, st.just(case.name), st.none() if case.type is None else values_of(case.type))
                for case in type_.cases
            ]
            return st.one_of(cases)
        case wit.Enum():
            return st.sampled_from(type_.names)
    return st.frozensets(st.sampled_from(type_.names))


@given(data=st.data(), type_=TYPES)
def test_any_value_of_any_type_goes_round(data: st.DataObject, type_: Any) -> None:
    """Packed and read again, and as JSON and back, a value is what it was; the type survives its description."""
    value = data.draw(values_of(type_))
    function = wit.Func((wit.Field("v", type_),), type_, False)
    assert msgspec.convert(msgspec.to_builtins(function), wit.Func) == function
    assert wit.obstacle(function) is None
    (wire,) = msgspec.msgpack.decode(pack_arguments("f", function, (value,)))
    assert read_result(type_, msgspec.msgpack.encode(wire)) == value
    came = msgspec.json.decode(msgspec.json.encode(to_json(type_, value)))
    assert pack_arguments("f", function, (from_json(type_, came),)) == pack_arguments("f", function, (value,))


WIRES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=10,
)


@given(type_=TYPES, wire=WIRES)
def test_whatever_a_worker_says_is_of_the_type_or_refused(type_: Any, wire: Any) -> None:
    """Nothing but `ValueError` comes of nonsense, and what is taken can be passed on as an argument of that type."""
    try:
        value = read_result(type_, msgspec.msgpack.encode(wire))
    except ValueError:
        return
    pack_arguments("f", wit.Func((wit.Field("v", type_),), None, False), (value,))


@pytest.mark.parametrize("packed", [b"", b"\xc1", b"\x91" * 100_000, b"\xdd\xff\xff\xff\xff", b"\x01\x01"])
def test_bytes_that_are_no_value_are_refused(packed: bytes) -> None:
    """Broken, endless and surplus MessagePack is a `ValueError` too."""
    for type_ in ("u32", None, wit.List("string"), wit.Option(wit.Option("u8"))):
        if (type_, packed) == ("u32", b"\x01"):
            continue
        with pytest.raises(ValueError, match=r"no value of type|returns none"):
            read_result(type_, packed)


def test_not_a_number_goes_round() -> None:
    """NaN is a value."""
    assert math.isnan(read_result("f64", msgspec.msgpack.encode(math.nan)))
    assert to_json("f64", math.nan) == "NaN"
    assert math.isnan(from_json("f64", "NaN"))
