"""What reaches the terminal."""

from __future__ import annotations

import io
import sys

from hypothesis import given
from hypothesis import strategies as st

from wasmq.cli.output import clean, complain, print_json, print_table, progress


@given(st.text())
def test_no_name_can_speak_to_the_terminal(text):
    """Whatever a guest calls its exports, what is written is one line without control characters."""
    assert clean(text).isprintable()


def test_printable_text_is_left_alone():
    """Only what a terminal would obey is escaped."""
    assert clean("größe ∞ 値") == "größe ∞ 値"
    assert clean("\x1b[2J") == "\\x1b[2J"


def test_an_error_is_one_line(capsys):
    """Line breaks in a message do not make a second line."""
    complain("first\nsecond\r\n  third")

    assert capsys.readouterr().err == "wasmq: first second third\n"


def test_an_error_is_written_whatever_the_encoding(monkeypatch):
    """A terminal that cannot show a character gets its escape, not an exception."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding="ascii"))
    complain("größe")

    assert raw.getvalue() == b"wasmq: gr\\xf6\\xdfe\n"


def test_a_table_is_plain_text_when_nobody_watches(capsys):
    """Away from a terminal the columns are aligned with spaces and nothing else."""
    print_table("title", ("name", "type"), [("a", "(func)"), ("longer", "(memory 1)\x1b")])

    assert capsys.readouterr().out == "name    type\na       (func)\nlonger  (memory 1)\\x1b\n"


def test_json_is_one_line(capsys):
    """One object, one line, bytes as base64."""
    print_json({"stdout": b"hi", "text": "a\nb"})

    assert capsys.readouterr().out == '{"stdout":"aGk=","text":"a\\nb"}\n'


def test_progress_is_silent_when_nobody_watches(capsys):
    """Away from a terminal progress writes nothing."""
    with progress() as advance:
        advance("map", 1, 2)

    assert capsys.readouterr() == ("", "")
