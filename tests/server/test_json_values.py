"""The conversion between JSON values and core values."""

from __future__ import annotations

import math
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmq.errors import InvalidArguments
from wasmq.server.json_values import arguments, json_value

i32 = st.integers(-(2**31), 2**32 - 1)
i64 = st.integers(-(2**63), 2**64 - 1)
f64 = st.floats(width=64)
f32 = st.floats(width=32)
v128 = st.binary(min_size=16, max_size=16)
core = st.one_of(
    *[
        st.tuples(st.just(name), values)
        for name, values in {"i32": i32, "i64": i64, "f32": f32, "f64": f64, "v128": v128}.items()
    ]
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def through_json(value):
    return msgspec.json.decode(msgspec.json.encode(value))


def same(left, right):
    """Equal to the bit: NaN is NaN, and -0.0 is not 0.0."""
    if isinstance(left, float):
        return isinstance(right, float) and (
            (math.isnan(left) and math.isnan(right)) or struct.pack("<d", left) == struct.pack("<d", right)
        )
    return type(left) is type(right) and left == right


@given(st.lists(core, max_size=6))
def test_values_survive_the_way_out_and_back(typed):
    """Any core value that went out as JSON and comes back as an argument of its type is the same to the bit."""
    params = [name for name, _ in typed]
    values = [value for _, value in typed]
    back = arguments(params, [through_json(json_value(value)) for value in values])
    assert all(same(left, right) for left, right in zip(values, back, strict=True))


@given(i64)
def test_integers_may_be_decimal_strings(value):
    """An integer means the same as a JSON number and as a decimal string, over all 64 bits, signed and unsigned."""
    assert arguments(["i64", "i64"], [through_json(value), str(value)]) == (value, value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_may_be_decimal_strings(value):
    """A finite number means the same as a JSON number and as the shortest decimal string."""
    number, text = arguments(["f64", "f64"], [through_json(value), repr(value)])
    assert same(number, value)
    assert same(text, value)


@given(st.sampled_from(["i32", "i64", "f32", "f64", "v128", "funcref"]), anything)
def test_anything_is_a_value_or_is_refused(param, came):
    """Whatever JSON comes, it becomes a value of the right Python type or is refused naming position and type."""
    try:
        [value] = arguments([param], [came])
    except InvalidArguments as error:
        refusal = str(error)
    else:
        types = {"i32": int, "i64": int, "f32": float, "f64": float, "v128": bytes, "funcref": type(None)}
        assert type(value) is types[param]
        return
    assert refusal.startswith(f"argument 1 is {param}: ")
    assert refusal.isprintable()
    assert len(refusal) < 250


@pytest.mark.parametrize(
    ("param", "came", "shown"),
    [
        ("i32", True, "true"),
        ("i32", 2.0, "2.0"),
        ("i64", "1_000", '"1_000"'),
        ("i64", "٣", '"٣"'),
        ("i64", " 1", '" 1"'),
        ("i64", None, "null"),
        ("i64", "1\n2", '"1\N{REPLACEMENT CHARACTER}2"'),
        ("f64", "nan", '"nan"'),
        ("f64", "1e999", '"1e999"'),
        ("f64", 10**400, "100"),
        ("f64", "9" * 5000, '"999'),
        ("f32", [1], "an array"),
        ("f32", {"a": 1}, "an object"),
        ("v128", "00" * 15, '"000'),
        ("v128", "0 " * 16, '"0 0'),
        ("v128", 0, "0"),
        ("externref", 1, "1"),
        ("(ref 3)", None, "cannot be given"),
    ],
)
def test_what_cannot_be_a_value_is_refused_by_name(param, came, shown):
    """The line names the position, the type wanted and what came."""
    with pytest.raises(InvalidArguments) as caught:
        arguments(["i32", param], [1, came], "job 3: ")
    assert str(caught.value).startswith(f"job 3: argument 2 is {param}: ")
    assert shown in str(caught.value)


@pytest.mark.parametrize(("params", "came"), [((), [1]), (("i32",), []), (("i32", "i64"), [1, 2, 3])])
def test_the_number_of_arguments_must_fit(params, came):
    """Too many and too few arguments are refused with both numbers."""
    with pytest.raises(InvalidArguments, match=f"takes {len(params) or 'none'}.* got {len(came)}"):
        arguments(params, came)
