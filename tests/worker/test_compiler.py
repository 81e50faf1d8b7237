"""The compile process: what it makes of good modules, what it says of bad ones, and what stops the worst."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wasmq_worker.compiler import answer
from wasmq_worker.engine import ENGINE_VERSION
from wasmq_worker.protocol import MAX_DESCRIBED, Compiled, CompileRequest, Rejected, Splitter

from .conftest import ENGINES
from .driver import GUESTS

if TYPE_CHECKING:
    from .driver import Compiler

TEXT = b'(module (func (export "mul") (param i32 i32) (result i32) (i32.mul (local.get 0) (local.get 1))))'
EMPTY = b"\0asm\x01\0\0\0"
GIB = 2**30


def leb(number: int) -> bytes:
    """Return an unsigned number as the binary format writes it."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def section(kind: int, content: bytes) -> bytes:
    return bytes([kind]) + leb(len(content)) + content


def bomb(entries: int) -> bytes:
    """Return a module of little more than `entries` bytes that costs its compiler tens of thousands of times as much.

    Its one element segment has an entry for each byte and does not fit its table, which the compiler does not refuse:
    it makes code for each entry.
    """
    return (
        EMPTY
        + section(1, b"\x01\x60\x00\x00")
        + section(3, b"\x01\x00")
        + section(4, b"\x01\x70\x00\x00")
        + section(9, b"\x01\x00\x41\x00\x0b" + leb(entries) + bytes(entries))
        + section(10, b"\x01\x02\x00\x0b")
    )


def reason(compiler: Compiler, source: bytes) -> str:
    """Return why a module is not accepted; it is one line, whatever it is."""
    reply, parts = compiler.ask(source)
    assert isinstance(reply, Rejected), reply
    assert not parts
    assert reply.reason
    assert reply.reason.isprintable()
    return reply.reason


@pytest.mark.parametrize("engine", ENGINES)
def test_text_and_binary_give_the_same_module(compiler: Compiler, engine: str) -> None:
    """Text is answered with its binary, and the digest is of the binary in both cases."""
    reply, (wasm, _) = compiler.ask(TEXT, engine)
    assert isinstance(reply, Compiled)
    assert wasm.startswith(EMPTY)
    again, (same, _) = compiler.ask(wasm, engine)
    assert isinstance(again, Compiled)
    assert same == wasm
    assert again.description == reply.description
    assert reply.description.digest == hashlib.sha256(wasm).hexdigest()
    assert reply.description.exports == [["mul", ["func", ["i32", "i32"], ["i32"]]]]
    assert reply.engine_version == ENGINE_VERSION
    assert reply.seconds > 0


@pytest.mark.parametrize("path", sorted(GUESTS.glob("*.wa*")), ids=lambda path: path.name)
def test_every_guest_compiles_in_process_as_in_its_own(compiler: Compiler, path: Path) -> None:
    """What the function answers is what the process answers; the artifact differs in nothing."""
    source = path.read_bytes()
    reply, parts = compiler.ask(source)
    assert isinstance(reply, Compiled)
    wasm = source
    if path.suffix == ".wat":
        _, wasm = _payloads(source)
    _, code = _payloads(wasm)
    assert [wasm, code] == parts


def _payloads(source: bytes) -> list[bytes]:
    return Splitter(GIB).feed(b"".join(answer(CompileRequest("native", 30.0, GIB), source)))


def test_the_smallest_module(compiler: Compiler) -> None:
    """A module of nothing is a module."""
    for source in (EMPTY, b"(module)"):
        reply, parts = compiler.ask(source)
        assert isinstance(reply, Compiled)
        assert parts[0] == EMPTY


@pytest.mark.parametrize(
    ("source", "line", "column"),
    [
        ("(module\n  (func\n    (i32.bogus)))", 3, 6),
        ("(module (func (call $nope)))", 1, 21),
        ("(module\n\n", 3, 1),
        ("(module)\n(module)", 2, 1),
        ('(module\n  (func (export "f") (result i32) (i32.const 99999999999)))', 2, 46),
        ("(((", 1, 2),
        ("hello", 1, 1),
    ],
)
def test_a_syntax_error_has_its_line_and_column(compiler: Compiler, source: str, line: int, column: int) -> None:
    """Text that does not parse is refused with what is wrong, and where."""
    assert reason(compiler, source.encode()).endswith(f" at line {line}, column {column}")


def test_a_type_error_has_its_byte(compiler: Compiler) -> None:
    """A module that parses and is not valid is refused with what is wrong and the offset in its binary."""
    said = reason(compiler, b'(module (func (export "f") (result i32)))')
    assert said == "type mismatch: expected i32 but nothing on stack at byte 31"


def test_a_module_cut_short_has_its_byte(compiler: Compiler) -> None:
    """The beginning of a module is refused with the offset of what is missing, unless it ends a section."""
    _, (wasm, _) = compiler.ask(TEXT)
    refused = 0
    for length in range(4, len(wasm)):
        reply, _ = compiler.ask(wasm[:length])
        if isinstance(reply, Rejected):
            what, _, offset = reply.reason.rpartition(" at byte ")
            assert what
            assert int(offset) <= length
            refused += 1
    # Sections for types, functions and exports end such a beginning; functions without bodies are refused all the same.
    assert len(wasm) - 4 - refused <= 2


@pytest.mark.parametrize("source", [b"", b" \n ", b";; nothing but a comment", b"\0", b"\xff\xfe", b"\0as"])
def test_what_is_no_module_at_all(compiler: Compiler, source: bytes) -> None:
    """Neither of the two things that a module can be: the error names both."""
    assert "neither a binary module" in reason(compiler, source)
    assert "nor WebAssembly text" in reason(compiler, source)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=40)
@given(noise=st.binary(max_size=300), head=st.sampled_from([b"", b"\0asm", EMPTY]))
def test_random_bytes_are_told_or_compiled(compiler: Compiler, noise: bytes, head: bytes) -> None:
    """No bytes break the compile process: each request is answered, in one line when it is refused."""
    reply, _ = compiler.ask(head + noise)
    assert reply is not None
    if isinstance(reply, Rejected):
        assert "\n" not in reply.reason


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
@given(data=st.data())
def test_a_damaged_module_is_told_or_compiled(compiler: Compiler, data: st.DataObject) -> None:
    """The same for good modules with one byte changed."""
    wasm = bytearray((GUESTS / "life.wasm").read_bytes())
    wasm[data.draw(st.integers(0, len(wasm) - 1))] = data.draw(st.integers(0, 255))
    reply, _ = compiler.ask(bytes(wasm))
    assert reply is not None


@pytest.mark.parametrize(
    "source",
    [b"(component)", b"(component (core module))", b"\0asm\x0d\0\x01\0", b"\0asm\x0d\0\x01\0\0\x02\x01x"],
    ids=["text", "text with a module", "header", "header and custom section"],
)
def test_a_component_is_compiled_as_such(compiler: Compiler, source: bytes) -> None:
    """A component needs no other call than a module: its bytes say what it is."""
    reply, parts = compiler.ask(source)
    assert isinstance(reply, Compiled), reply
    assert reply.description.kind == "component"
    assert len(parts) == 2


def test_a_damaged_component_is_told_or_compiled(compiler: Compiler) -> None:
    """A component with one byte changed is compiled or refused, and never ends the process without an answer."""
    wasm = (GUESTS / "components" / "hello.wasm").read_bytes()
    for place in range(0, len(wasm), len(wasm) // 60):
        damaged = bytearray(wasm)
        damaged[place] ^= 0x15
        reply, _ = compiler.ask(bytes(damaged))
        assert reply is not None, place


@pytest.mark.parametrize(
    "source",
    [
        b"(module (memory 1 2 shared))",
        b'(module (import "env" "memory" (memory 1 2 shared)))',
        b"(module (memory 1) (func (drop (i32.atomic.load (i32.const 0)))))",
    ],
    ids=["a shared memory", "an imported one", "an atomic instruction"],
)
def test_threads_are_refused_as_such(compiler: Compiler, source: bytes) -> None:
    """Shared memory could block a worker, so it is not offered, and the line says so and where it is."""
    said = reason(compiler, source)
    assert said.startswith("threads and shared memory are not offered")
    assert " at byte " in said


def test_proposals_that_are_on(compiler: Compiler) -> None:
    """What guests may use beyond the first version of WebAssembly."""
    for source in (
        "(module (memory 1) (memory 1))",
        "(module (memory i64 1))",
        "(module (func (result i32 i64) (i32.const 1) (i64.const 2)))",
        "(module (func (drop (v128.const i64x2 1 2))))",
        "(module (func (param v128) (drop (i8x16.relaxed_swizzle (local.get 0) (local.get 0)))))",
        "(module (func $f (return_call $f)))",
        "(module (tag $t) (func (throw $t)))",
        "(module (type $s (struct (field i32))) (func (drop (struct.new $s (i32.const 1)))))",
        "(module (table 1 externref))",
        "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 1))))",
    ):
        reply, _ = compiler.ask(source.encode())
        assert isinstance(reply, Compiled), (source, reply)


def test_a_bomb_ends_within_its_time(compiler: Compiler) -> None:
    """A module of a megabyte that takes a minute is dropped when its time is over, and the next is served."""
    assert compiler.ask(bomb(1_000_000), timeout=1.0, memory=16 * GIB) == (None, [])
    assert isinstance(compiler.ask(TEXT)[0], Compiled)


def test_a_bomb_ends_within_its_memory(compiler: Compiler) -> None:
    """The same when it would take more memory than it may: that is the end of its own process and no other's."""
    assert compiler.ask(bomb(1_000_000), timeout=600.0, memory=GIB // 2) == (None, [])
    assert isinstance(compiler.ask(TEXT)[0], Compiled)


def test_a_bomb_holds_up_nobody(compiler: Compiler) -> None:
    """While one module takes its time another is compiled: each has a process of its own."""
    slow = compiler.begin(bomb(1_000_000), timeout=600.0, memory=16 * GIB)
    assert isinstance(compiler.ask(TEXT)[0], Compiled)
    slow.setblocking(False)
    with slow, pytest.raises(BlockingIOError):
        slow.recv(1)
    _end_children(compiler)


def test_the_same_kind_of_module_in_a_small_size_compiles(compiler: Compiler) -> None:
    """It is the size that is stopped, not the kind."""
    assert isinstance(compiler.ask(bomb(1_000))[0], Compiled)


def test_deep_nesting_does_not_overflow_the_stack(compiler: Compiler) -> None:
    """Text and binaries nested a hundred thousand deep are answered like others."""
    deep = 100_000
    assert compiler.ask(b"(module (func " + b"(block " * deep + b")" * (deep + 2))[0] is not None
    assert reason(compiler, b"(" * deep)
    assert reason(compiler, b"(module (func " + b"(i32.eqz " * deep)


def test_a_request_that_breaks_off(compiler: Compiler) -> None:
    """Who hangs up in the middle of a request harms nobody."""
    connection = compiler.begin(TEXT, timeout=10.0, memory=GIB)
    connection.close()
    assert isinstance(compiler.ask(TEXT)[0], Compiled)


def test_no_children_are_left(compiler: Compiler) -> None:
    """Compile processes that ended leave no entry in the process table, however they ended."""
    compiler.ask(TEXT)
    compiler.ask(b"nonsense")
    compiler.ask(bomb(200_000), timeout=0.05, memory=GIB)
    while _children(compiler):  # the last may still be on its way out
        pass


def _children(compiler: Compiler) -> list[int]:
    pid = compiler.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def _end_children(compiler: Compiler) -> None:
    for child in _children(compiler):
        os.kill(child, signal.SIGKILL)


def test_more_names_than_anybody_wants_to_read_are_refused(compiler):
    """What a module is called and calls is told to the scheduler, which decodes it: there is an end to that."""
    names = "".join(f'(export "{"x" * 2_000}{number}" (func 0))' for number in range(5_000))
    assert "take 10" in (said := reason(compiler, f"(module (func) {names})".encode()))
    assert f"may take {MAX_DESCRIBED} at most" in said
