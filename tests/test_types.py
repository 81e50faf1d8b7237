"""The types of exports and imports: how they are shown, and that decoding lets nothing else in."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmq.types import Extern, ExternType, FunctionType, GlobalType, Import, MemoryType, TableType, TagType, printable

SHOWN = [
    (FunctionType((), ()), "(func)"),
    (FunctionType(("i32", "i32"), ("i32",)), "(func (param i32 i32) (result i32))"),
    (FunctionType((), ("v128", "(ref null 3)")), "(func (result v128 (ref null 3)))"),
    (MemoryType(1, None, False, False, 65_536), "(memory 1)"),
    (MemoryType(1, 16, False, False, 65_536), "(memory 1 16)"),
    (MemoryType(0, 1, True, True, 1), "(memory i64 0 1 shared (pagesize 1))"),
    (TableType("funcref", 1, None, False), "(table 1 funcref)"),
    (TableType("(ref null extern)", 1, 2, True), "(table i64 1 2 (ref null extern))"),
    (GlobalType("i64", False), "(global i64)"),
    (GlobalType("i32", True), "(global (mut i32))"),
    (TagType(()), "(tag)"),
    (TagType(("i32", "f64")), "(tag (param i32 f64))"),
]


@pytest.mark.parametrize(("type_", "text"), SHOWN)
def test_types_read_like_webassembly_text(type_: ExternType, text: str) -> None:
    """`str` of a type is what the type looks like in a .wat file."""
    assert str(type_) == text
    assert str(Extern("x", type_)) == f'(export "x" {text})'
    assert str(Import("env", "x", type_)) == f'(import "env" "x" {text})'


def test_a_signature_of_a_thousand_values_is_shown_short() -> None:
    """One line stays a line that can be read, and says how much it leaves out."""
    text = str(FunctionType(("i32",) * 1_000, ()))
    assert text.endswith("i32 ... 900 more))")
    assert len(text) < 500


@pytest.mark.parametrize(("type_", "_text"), SHOWN)
def test_plain_data_becomes_types_and_types_plain_data(type_: ExternType, _text: str) -> None:
    """The arrays of a description and the structs are the same thing, by way of MessagePack and without."""
    extern = Extern("name", type_)
    plain = msgspec.to_builtins(extern)
    assert plain[1][0] == type(type_).__struct_config__.tag
    assert msgspec.convert(plain, Extern) == extern
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(plain), type=Extern) == extern


@pytest.mark.parametrize(
    "plain",
    [
        ["f"],
        ["f", ["func", [], []], "more"],
        ["f", ["func", []]],
        ["f", ["func", [], [], []]],
        ["f", ["component", []]],
        ["f", ["func", ["i32\n"], []]],
        ["f", ["func", ["\x1b[2Ji32"], []]],
        ["f", ["func", ["(ref null 99999999999)"], []]],
        ["f", ["func", [32], []]],
        ["f", ["func", ["i32"] * 1_001, []]],
        ["f", ["memory", -1, None, False, False, 65_536]],
        ["f", ["memory", 1, None, False, False, 65_537]],
        ["f", ["memory", 1.5, None, False, False, 65_536]],
        ["f", ["memory", 1, None, 0, False, 65_536]],
        ["f", ["table", "funcref", 1, -1, False]],
        ["f", ["global", "", True]],
        ["f" * 100_001, ["func", [], []]],
        [b"f", ["func", [], []]],
        {"name": "f", "type": ["func", [], []]},
        None,
    ],
)
def test_what_is_not_a_description_is_refused(plain: Any) -> None:
    """What comes out of the process that read a guest's bytes is checked to the last element."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(plain, Extern)


@given(st.text(max_size=300), st.integers(1, 250))
def test_a_printable_name_is_a_harmless_piece_of_a_line(name: str, limit: int) -> None:
    """No control character, no line end and no direction mark gets through, and the length is bounded."""
    shown = printable(name, limit)
    assert shown.isprintable()
    assert len(shown) <= limit
    if name.isprintable() and len(name) <= limit:
        assert shown == name


def test_names_are_cleaned_where_they_are_shown() -> None:
    """A guest's name cannot end the quotes, start a new line or steer a terminal."""
    assert printable("a\n\x1b[31m\u202eb") == "a��[31m�b"
    assert printable("x" * 300) == "x" * 199 + "…"
    assert str(Extern('a"\\\r', TagType(()))) == '(export "a\\"\\\\�" (tag))'
    assert "\n" not in str(Import("a\n", "b\n", TagType(())))
