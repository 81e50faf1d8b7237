"""Types are shown by the names that they have in an interface or in the world."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from wasmq_worker.components.names import type_names

from .conftest import GUESTS

if TYPE_CHECKING:
    import wasmq

HELLO = (GUESTS / "hello.wasm").read_bytes()
WORLD = """(component
 (type $p (record (field "x" u32) (field "y" (list string))))
 (import "point" (type $point (eq $p)))
 (type $s (variant (case "at" $point) (case "none")))
 (import "shape" (type $shape (eq $s)))
 (import "wasi:clocks/wall-clock@0.2.0" (instance $clock
   (type $d (record (field "seconds" u64) (field "nanoseconds" u32)))
   (export "datetime" (type $datetime (eq $d)))
   (export "now" (func (result $datetime)))))
 (core module $m (memory (export "m") 1) (func (export "r") (param i32 i32 i32 i32) (result i32) i32.const 64)
   (func (export "f") (param i32 i32 i32 i32) (result i32) i32.const 64))
 (core instance $i (instantiate $m))
 (func (export "turn") (param "shape" $shape) (result (option $point))
   (canon lift (core func $i "f") (memory (core memory $i "m")) (realloc (core func $i "r")))))"""
# Each type has two of the one before: written out, the last would be larger than any memory.
DOUBLED = "".join([f"(type $t{n} (tuple $t{n - 1} $t{n - 1}))" for n in range(1, 16)])
TOWER = f"""(component (type $t0 (tuple u8 u8)) {DOUBLED} (type $r (record (field "x" $t15)))
 (import "big" (type (eq $r)))
 (core module $m (func (export "f"))) (core instance $i (instantiate $m))
 (func (export "f") (canon lift (core func $i "f"))))"""


async def load(open_scheduler: Any, source: str) -> wasmq.Module:
    """Load a component and return it."""
    async with open_scheduler() as scheduler:
        return await scheduler.load(source)


async def test_types_have_their_names(open_scheduler: Any) -> None:
    """A type that the world imports, or an interface defines, is shown by its name wherever it is used."""
    module = await load(open_scheduler, WORLD)
    assert [str(each) for each in module.exports] == ["turn: func(shape: shape) -> option<point>"]
    assert [str(each) for each in module.imports] == ["wasi:clocks/wall-clock@0.2.0#now: func() -> datetime"]


async def test_a_type_without_end_has_no_name(open_scheduler: Any) -> None:
    """A type that would be endless written out is not looked at for its name."""
    module = await load(open_scheduler, TOWER)
    assert [str(each) for each in module.exports] == ["f: func()"]


@given(place=st.integers(8, len(HELLO) - 1), byte=st.integers(0, 255), end=st.integers(8, len(HELLO)))
def test_damaged_bytes_cost_only_names(place: int, byte: int, end: int) -> None:
    """Whatever the bytes are, reading names ends, and well."""
    damaged = bytearray(HELLO)
    damaged[place] = byte
    assert isinstance(type_names(bytes(damaged[:end])), list)
