"""Arguments' text to core values and back."""

from __future__ import annotations

import math
import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmq.cli.values import format_value, json_value, parse_arguments, parse_value
from wasmq.errors import InvalidArguments

BITS = {"i32": 32, "i64": 64}
TYPES = ("i32", "i64", "f32", "f64", "v128")
VALUES = {
    "i32": st.integers(-(2**31), 2**31 - 1),
    "i64": st.integers(-(2**63), 2**63 - 1),
    "f32": st.floats(width=32),
    "f64": st.floats(),
    "v128": st.binary(min_size=16, max_size=16),
}


def same(a: object, b: object) -> bool:
    """Equal as core values are: by their bits, but for the payload of a NaN."""
    if isinstance(a, float) and isinstance(b, float):
        return (math.isnan(a) and math.isnan(b)) or struct.pack("<d", a) == struct.pack("<d", b)
    return type(a) is type(b) and a == b


@given(st.data(), st.sampled_from(TYPES))
def test_what_is_printed_can_be_typed_back(data, wanted):
    """`format_value` gives text from which `parse_value` makes the same value, for every value of every type."""
    value = data.draw(VALUES[wanted])

    assert same(parse_value(format_value(value), wanted), value)


@given(st.data(), st.sampled_from(sorted(BITS)))
def test_integers_are_accepted_in_the_unsigned_range_too(data, wanted):
    """A number above the signed range is the signed value with the same bits, in decimal and in hex."""
    bits = BITS[wanted]
    number = data.draw(st.integers(2 ** (bits - 1), 2**bits - 1))

    for text in (str(number), hex(number), f"{number:_}", f"0x{number:_x}", f"+{number}", f"0X{number:X}"):
        assert parse_value(text, wanted) == number - 2**bits


@given(st.data(), st.sampled_from(sorted(BITS)))
def test_integers_outside_both_ranges_are_refused(data, wanted):
    """A number that no bits of the type stand for is refused, not wrapped."""
    bits = BITS[wanted]
    number = data.draw(st.integers(min_value=2**bits) | st.integers(max_value=-(2 ** (bits - 1)) - 1))

    with pytest.raises(InvalidArguments, match=wanted):
        parse_value(str(number), wanted)


@given(st.text() | st.from_regex(re.compile(r"[-+0-9a-fx_.epin]*"), fullmatch=True), st.sampled_from(TYPES))
def test_any_text_is_a_value_or_refused(text, wanted):
    """No text raises anything but `InvalidArguments`, and an accepted one gives a value of the type asked for."""
    try:
        value = parse_value(text, wanted)
    except InvalidArguments:
        return

    assert isinstance(value, {"i": int, "f": float, "v": bytes}[wanted[0]])
    if wanted in BITS:
        assert -(2 ** (BITS[wanted] - 1)) <= value < 2 ** (BITS[wanted] - 1)


@pytest.mark.parametrize(
    ("text", "wanted", "value"),
    [
        ("-3", "i32", -3),
        ("007", "i32", 7),
        ("-0x10", "i64", -16),
        ("4294967295", "i32", -1),
        ("1_000", "i64", 1000),
        ("2", "f64", 2.0),
        ("1e3", "f64", 1000.0),
        (".5", "f32", 0.5),
        ("0.1", "f32", 0.10000000149011612),
        ("-inf", "f32", -math.inf),
        ("Infinity", "f64", math.inf),
        ("0x1.8p1", "f64", 3.0),
        ("-0.0", "f64", -0.0),
        ("000102030405060708090A0B0C0D0E0F", "v128", bytes(range(16))),
    ],
)
def test_values_that_people_type(text, wanted, value):
    """Each of the ways to write a value that the manual names gives that value."""
    assert same(parse_value(text, wanted), value)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "i32"),
        ("1.0", "i32"),
        ("1__0", "i32"),
        ("_1", "i32"),
        ("0x", "i32"),
        ("\u0663", "i32"),
        ("true", "i32"),
        ("9" * 5000, "i64"),
        ("1e400", "f64"),
        ("1e39", "f32"),
        ("1,5", "f64"),
        ("\u0663.\u0665", "f64"),
        ("0x1p99999", "f64"),
        ("00", "v128"),
        ("0x" + "0" * 30, "v128"),
        ("1", "externref"),
    ],
)
def test_text_that_is_no_value(text, wanted):
    """What is not exactly a value of the type is refused in one short line that names the type."""
    with pytest.raises(InvalidArguments, match=wanted) as refused:
        parse_value(text, wanted)

    assert len(str(refused.value)) < 200
    assert "\n" not in str(refused.value)


def test_an_argument_is_named_by_its_position():
    """The line says which argument, of which export, what was wanted and what came."""
    with pytest.raises(InvalidArguments, match=r"^argument 2 of mul: i32 wanted, .* not 'two'$"):
        parse_arguments(["1", "two"], ["i32", "i32"], "mul")


@pytest.mark.parametrize(
    ("texts", "types", "line"),
    [
        (["1"], ["i32", "i64"], "f takes 2 arguments (i32 i64), not 1"),
        (["1", "2"], ["i32"], "f takes 1 argument (i32), not 2"),
        (["1"], [], "f takes 0 arguments, not 1"),
    ],
)
def test_their_number_must_be_right(texts, types, line):
    """Too few or too many arguments are refused with the parameters' types."""
    with pytest.raises(InvalidArguments) as refused:
        parse_arguments(texts, types, "f")

    assert str(refused.value) == line


def test_right_arguments_become_a_tuple_of_values():
    """Each text is read by the type at its place."""
    assert parse_arguments(["-1", "2"], ["i32", "f64"], "f") == (-1, 2.0)


@pytest.mark.parametrize(
    ("value", "json"),
    [
        (2**63 - 1, 2**63 - 1),
        (0.5, 0.5),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (bytes(16), "0" * 32),
    ],
)
def test_values_in_json(value, json):
    """What JSON has no number for is a string, as over HTTP."""
    assert json_value(value) == json
