"""Sizes as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmq.errors import InvalidLimit
from wasmq.units import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("65536", 65536),
        ("64KiB", 65536),
        ("64 KiB", 65536),
        (" 64kib ", 65536),
        ("64K", 65536),
        ("64kB", 64_000),
        ("1B", 1),
        ("1.5MiB", 1_572_864),
        ("0.5 GB", 500_000_000),
        ("2G", 2**31),
        ("16m", 2**24),
    ],
)
def test_a_size_is_read_as_written(text, size):
    """Units are case-insensitive; with an i, or bare, they are binary; without, decimal; fractions round down."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "KiB",
        "-1",
        "+1",
        "1e3",
        "1,5MiB",
        "1.MiB",
        ".5MiB",
        "1TiB",
        "1 000",
        "0x10",
        "nan",
        "\u0661KiB",
        "9" * 21,
    ],
)
def test_what_is_no_size_is_refused_by_name(text):
    """The error names the setting and shows what came, and how to write it."""
    with pytest.raises(InvalidLimit, match=r"^memory: .* is not a size; write .*'64KiB'") as caught:
        parse_size(text, "memory")
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("value", [True, 1.5, None, b"64KiB", [1]])
def test_only_ints_and_text_are_sizes(value):
    """A bool is not a number of bytes, nor is a float."""
    with pytest.raises(InvalidLimit):
        parse_size(value)


@given(st.integers())
def test_an_int_is_bytes_already(size):
    """Numbers pass as they are: who checks the range is who knows it."""
    assert parse_size(size) == size


@given(st.integers(0, 2**62), st.sampled_from(["B", "KiB", "MiB", "GiB"]))
def test_whole_numbers_are_exact(number, unit):
    """No digit is lost on the way through a unit, however large the number."""
    factor = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}[unit]
    assert parse_size(f"{number}{unit}") == number * factor


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (65536, "64 KiB"),
        (1_572_864, "1.5 MiB"),
        (2**30, "1 GiB"),
        (2**40, "1024 GiB"),
    ],
)
def test_a_size_is_shown_in_the_largest_unit_it_fills(size, text):
    """What a person reads is short, and binary."""
    assert format_size(size) == text
