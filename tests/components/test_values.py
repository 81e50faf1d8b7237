"""Every WIT value goes in and comes out as natural Python, through a real component on both engines."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import wasmq
from wasmq import Case, Err, InvalidArguments, Ok, Some

PADDING = tuple(range(17))
TEXT = st.text(max_size=20).filter(lambda text: not any("\ud800" <= each <= "\udfff" for each in text))
ADDRESS = st.fixed_dictionaries({"street": TEXT, "zip": st.integers(0, 2**32 - 1), "is-home": st.booleans()})
COLOUR = st.sampled_from(["red", "dark-green", "blue"])
F32 = st.floats(width=32, allow_nan=False)
SHAPE = st.one_of(
    st.just(Case("point")),
    st.builds(Case, st.just("circle"), st.floats(allow_nan=False)),
    st.builds(Case, st.just("box"), st.tuples(F32, F32)),
    st.builds(Case, st.just("of-colour"), COLOUR),
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    **{f"s{bits}": st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"u{bits}": st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64)},
    "f32": F32,
    "f64": st.floats(allow_nan=False),
    "char": st.characters(exclude_categories=["Cs"]),
    "string": TEXT,
    "bytes": st.binary(max_size=300),
    "numbers": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=20),
    "doubles": st.lists(st.floats(allow_nan=False), max_size=20),
    "words": st.lists(TEXT, max_size=5),
    "lists": st.lists(st.lists(st.integers(0, 2**16 - 1), max_size=3), max_size=4),
    "record": ADDRESS,
    "nested": st.fixed_dictionaries({"name": TEXT, "home": ADDRESS, "others": st.lists(ADDRESS, max_size=3)}),
    "enum": COLOUR,
    "flags": st.frozensets(st.sampled_from(["read", "write", "execute"])),
    "variant": SHAPE,
    "variants": st.lists(SHAPE, max_size=4),
    "option": st.none() | TEXT,
    "options": st.sampled_from([None, Some(None), Some(0), Some(2**32 - 1)]),
    "result": st.builds(Ok, TEXT) | st.builds(Err, SHAPE),
    "status": st.sampled_from([Ok(), Err()]),
    "only-error": st.just(Ok()) | st.builds(Err, st.integers(0, 255)),
    "tuple": st.tuples(st.integers(0, 255), TEXT, COLOUR),
}


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(values=st.fixed_dictionaries(VALUES), other=st.fixed_dictionaries(VALUES))
def test_values_come_back_as_they_went_in(open_scheduler: Any, components: Any, values: Any, other: Any) -> None:
    """Whatever is given to a function that returns its argument comes back, and costs the same on both engines."""
    calls = [*values.items(), *other.items()]

    async def run(engine: str) -> list[tuple[Any, int]]:
        async with open_scheduler(engine=engine) as scheduler:
            module = await scheduler.load(components / "values.wat")
            jobs = [await scheduler.submit(module, name, (value, PADDING)) for name, value in calls]
            outcomes = [await job for job in jobs]
            assert [outcome.error for outcome in outcomes] == [None] * len(outcomes)
            return [(outcome.value, outcome.fuel_used) for outcome in outcomes]

    native = asyncio.run(run("native"))
    assert [value for value, _ in native] == [(value, PADDING) for _, value in calls]
    assert asyncio.run(run("interpreter")) == native


async def test_nan_comes_back(open_scheduler: Any, components: Any) -> None:
    """A NaN is still one."""
    async with open_scheduler() as scheduler:
        module = await scheduler.load(components / "values.wat")
        value, _ = (await scheduler.run(module, "f64", (math.nan, PADDING))).value
        assert math.isnan(value)


@pytest.mark.parametrize(
    ("export", "given", "back"),
    [
        ("bytes", [1, 2, 255], b"\x01\x02\xff"),
        ("bytes", bytearray(b"ab"), b"ab"),
        ("bytes", memoryview(b"ab"), b"ab"),
        ("record", {"street": "s", "zip": 1, "is_home": True}, {"street": "s", "zip": 1, "is-home": True}),
        ("flags", ["read", "execute"], frozenset({"read", "execute"})),
        ("variant", "point", Case("point")),
        ("variant", Case("of_colour", "dark_green"), Case("of-colour", "dark-green")),
        ("option", Some("x"), "x"),
        ("tuple", [1, "x", "red"], (1, "x", "red")),
        ("f64", 1, 1.0),
        ("f32", 0.1, 0.10000000149011612),
    ],
)
async def test_what_is_meant_is_accepted(
    open_scheduler: Any, components: Any, export: str, given: Any, back: Any
) -> None:
    """Natural ways to write a value are taken, and come back in the one form that results have."""
    async with open_scheduler() as scheduler:
        module = await scheduler.load(components / "values.wat")
        assert (await scheduler.run(module, export, (given, PADDING))).value[0] == back


@pytest.mark.parametrize(
    ("export", "given", "words"),
    [
        ("bool", 1, "argument 1 (v) of 'bool' [0]: wants bool, True or False, got 1 (int)"),
        ("u8", 256, "argument 1 (v) of 'u8' [0]: u8 is from 0 to 255, got 256 (int)"),
        ("s8", -129, "s8 is from -128 to 127, got -129 (int)"),
        ("u32", True, "wants u32, an int, got True (bool)"),
        ("u64", 2**64, "u64 is from 0 to 18446744073709551615"),
        ("f32", 1e39, "1e+39 (float) is outside the range of f32"),
        ("char", "ab", "wants char, one character, got 'ab' (str)"),
        ("string", "\ud800", "string cannot hold the lone surrogates"),
        ("string", b"x", "wants string, a str, got b'x' (bytes)"),
        ("bytes", [256], "[0][0]: u8 is from 0 to 255, got 256 (int)"),
        ("words", "ab", "wants list<string>, a list, got 'ab' (str)"),
        ("words", ["a", 1], "[0][1]: wants string, a str, got 1 (int)"),
        ("record", {"street": "", "zip": "x", "is-home": True}, "[0].zip: wants u32, an int, got 'x' (str)"),
        ("record", {"street": "", "zip": 1}, "address wants the field 'is-home', which is missing"),
        ("record", {"street": "", "zip": 1, "is-home": True, "x": 1}, "address has no field 'x' (str)"),
        ("record", {"street": "", "zip": 1, "is-home": True, "is_home": True}, "address is given a field twice"),
        ("record", ["s", 1, True], "wants address, a dict, got a value of type list"),
        ("nested", {"name": "", "home": None, "others": []}, "[0].home: wants address, a dict, got None"),
        ("enum", "green", "colour has no 'green' (str); it has red, dark-green, blue"),
        ("flags", ["fly"], "access has no 'fly' (str); it has read, write, execute"),
        ("flags", "read", "wants access, a set of names, got 'read' (str)"),
        ("variant", "circle", "[0].circle: wants f64, a float or an int, got None"),
        ("variant", Case("point", 1), "point carries no value, got 1 (int)"),
        ("variant", Case("star"), "shape has no 'star' (str); it has point, circle, box, of-colour"),
        ("variant", 1, "wants shape, wasmq.Case(name, value), got 1 (int)"),
        ("options", 1, "wants option<option<u32>>, None or wasmq.Some(…), got 1 (int)"),
        ("result", "x", "wants result<string, shape>, wasmq.Ok(…) or wasmq.Err(…), got 'x' (str)"),
        ("result", Err("circle"), "[0].err.circle: wants f64"),
        ("status", Ok(1), "ok carries no value, got 1 (int)"),
        ("tuple", (1, "x"), "tuple<u8, string, colour> wants 3 items, got 2"),
        ("bytes", b"x" * (4 * 2**20), "bytes together, the most is 4194304; bring more in files"),
    ],
)
async def test_what_does_not_fit_is_refused_before_it_is_queued(
    open_scheduler: Any, components: Any, export: str, given: Any, words: str
) -> None:
    """The refusal names the export, the place inside the argument, the type wanted and what came."""
    async with open_scheduler() as scheduler:
        module = await scheduler.load(components / "values.wat")
        with pytest.raises(InvalidArguments) as refusal:
            await scheduler.submit(module, export, (given, PADDING))
        assert words in str(refusal.value)
        assert "\n" not in str(refusal.value)


async def test_the_number_of_arguments_is_checked(open_scheduler: Any, components: Any) -> None:
    """Too few and too many arguments are refused."""
    async with open_scheduler() as scheduler:
        module = await scheduler.load(components / "values.wat")
        with pytest.raises(InvalidArguments, match="takes 1 argument, got 0"):
            await scheduler.submit(module, "u8")
        with pytest.raises(InvalidArguments, match="takes 1 argument, got 2"):
            await scheduler.submit(module, "u8", 1, 2)


async def test_a_list_that_contains_itself_is_refused(open_scheduler: Any) -> None:
    """An argument is only followed as deep as its type."""
    endless: list[Any] = []
    endless.append(endless)
    wat = '(component (core module $m (memory (export "m") 1) (func (export "r") (param i32 i32 i32 i32) (result i32)'
    wat += ' i32.const 0) (func (export "f") (param i32 i32))) (core instance $i (instantiate $m))'
    wat += ' (func (export "f") (param "a" (list (list u8))) (canon lift (core func $i "f")'
    wat += ' (memory (core memory $i "m")) (realloc (core func $i "r")))))'
    async with open_scheduler() as scheduler:
        module = await scheduler.load(wat)
        with pytest.raises(InvalidArguments, match="wants u8"):
            await scheduler.submit(module, "f", endless)


def test_the_values_are_public() -> None:
    """What arguments and results are made of is there under the package's name."""
    assert (wasmq.Ok, wasmq.Err, wasmq.Case, wasmq.Some) == (Ok, Err, Case, Some)
