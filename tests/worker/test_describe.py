"""What is read from a module's binary: against the text it was made from, against wasmtime, and against nonsense."""

from __future__ import annotations

import ctypes
import hashlib
from typing import TYPE_CHECKING

import msgspec
import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from wasmq.types import Extern, FunctionType, GlobalType, Import, MemoryType, TableType, TagType
from wasmq_worker import capi
from wasmq_worker.binary import Reader
from wasmq_worker.components.sections import INSTANCES, needs
from wasmq_worker.describe import ELEMENT, HEAVY_DATA, ITEM, MAX_DESCRIPTION, DescribeError, describe
from wasmq_worker.engine import Engine, check

if TYPE_CHECKING:
    from pathlib import Path

    from wasmq.types import ExternType
    from wasmq_worker.protocol import Described

PAGE = 65_536
PREAMBLE = b"\0asm\x01\0\0\0"


def _engine() -> wasmtime.Engine:
    config = wasmtime.Config()
    config.wasm_gc = True
    config.wasm_function_references = True
    config.wasm_exceptions = True
    config.wasm_custom_page_sizes = True
    return wasmtime.Engine(config)


ENGINE = _engine()


def build(text: str) -> bytes:
    """Make a module, and see that wasmtime accepts it."""
    wasm = bytes(wasmtime.wat2wasm(text))
    wasmtime.Module.validate(ENGINE, wasm)
    return wasm


def of(text: str) -> Described:
    return describe(build(text))


def exports(described: Described) -> tuple[Extern, ...]:
    return msgspec.convert(described.exports, tuple[Extern, ...])


def imports(described: Described) -> tuple[Import, ...]:
    return msgspec.convert(described.imports, tuple[Import, ...])


def exported(text: str) -> list[str]:
    return [str(extern.type) for extern in exports(of(text))]


# One module with everything that a section can hold.
EVERYTHING = """(module
  (rec (type $node (sub (struct (field i8) (field (mut i16)) (field (ref null $node)) (field $v v128))))
       (type $leaf (sub final $node (struct (field i8) (field (mut i16)) (field (ref null $node)) (field $v v128)))))
  (type $bytes (array (mut i8)))
  (type $words (array i64))
  (type $f (func (param i32 (ref null $bytes) (ref $node) (ref func) (ref null i31)) (result v128 exnref)))
  (type $open (sub (func (param i32) (result i32))))
  (type $e (func (param i64 externref)))
  (rec)
  (import "env" "f" (func $imported (type $open)))
  (import "env" "t" (table $it i64 1 9 externref))
  (import "env" "m" (memory $im i64 1 2))
  (import "env" "g" (global $ig i32))
  (import "env" "tag" (tag $itag (type $e)))
  (func $own (export "f") (type $f) unreachable)
  (func $start)
  (table $t0 (export "t0") 1 funcref)
  (table $t1 (export "t1") i64 2 5 (ref null $open))
  (table $t2 (export "t2") 3 (ref func) (ref.func $own))
  (table $t3 4 (ref null $node) (struct.new $node (i32.const 1) (i32.const 2) (ref.null $node)
    (v128.const i64x2 11 11)))
  (memory $m1 (export "m1") 1 16)
  (memory $m2 (export "m2") i64 2)
  (memory $m3 (export "m3") 300 400 (pagesize 1))
  (tag (export "tag") (param i32 f64))
  (global (export "g0") (mut f32) (f32.const nan))
  (global (export "g1") f64 (f64.const 11))
  (global (export "g2") v128 (v128.const i8x16 11 11 11 11 11 11 11 11 11 11 11 11 11 11 11 11))
  (global (export "g3") i32 (i32.add (i32.mul (global.get $ig) (i32.const -2147483648)) (i32.const 11)))
  (global (export "g4") i64 (i64.sub (i64.const -9223372036854775808) (i64.add (i64.const 1) (i64.const 1))))
  (global (export "g5") (ref $bytes) (array.new $bytes (i32.const 11) (i32.const 3)))
  (global (export "g6") (ref null any) (array.new_default $bytes (i32.const 300)))
  (global (export "g7") (ref eq) (array.new_fixed $words 2 (i64.const 11) (i64.const 12)))
  (global (export "g8") structref (struct.new_default $leaf))
  (global (export "g9") (ref i31) (ref.i31 (i32.const 5)))
  (global (export "g10") externref (extern.convert_any (ref.i31 (i32.const 5))))
  (global (export "g11") anyref (any.convert_extern (ref.null extern)))
  (global (export "g12") (ref $f) (ref.func $own))
  (global (export "g13") nullref (ref.null none))
  (start $start)
  (elem (table $t0) (i32.const 0) func $own)
  (elem (table $t1) (i64.const 0) (ref null $open) (ref.func $imported))
  (elem func $own $start $own)
  (elem declare func $start)
  (elem i31ref (item (ref.i31 (i32.const 11))) (item (ref.null i31)))
  (elem declare funcref (ref.func $own))
  (data (memory $m1) (i32.const 11) "abc")
  (data "passive")
)"""


def test_every_kind_of_import_and_export_is_read() -> None:
    """A module that uses all of the format is described in the words of the text it was made from."""
    described = of(EVERYTHING)
    assert [str(each) for each in imports(described)] == [
        '(import "env" "f" (func (param i32) (result i32)))',
        '(import "env" "t" (table i64 1 9 externref))',
        '(import "env" "m" (memory i64 1 2))',
        '(import "env" "g" (global i32))',
        '(import "env" "tag" (tag (param i64 externref)))',
    ]
    assert {each.name: str(each.type) for each in exports(described)} == {
        "f": "(func (param i32 (ref null 2) (ref 0) (ref func) i31ref) (result v128 exnref))",
        "t0": "(table 1 funcref)",
        "t1": "(table i64 2 5 (ref null 5))",
        "t2": "(table 3 (ref func))",
        "m1": "(memory 1 16)",
        "m2": "(memory i64 2)",
        "m3": "(memory 300 400 (pagesize 1))",
        "tag": "(tag (param i32 f64))",
        "g0": "(global (mut f32))",
        "g1": "(global f64)",
        "g2": "(global v128)",
        "g3": "(global i32)",
        "g4": "(global i64)",
        "g5": "(global (ref 2))",
        "g6": "(global anyref)",
        "g7": "(global (ref eq))",
        "g8": "(global structref)",
        "g9": "(global (ref i31))",
        "g10": "(global externref)",
        "g11": "(global anyref)",
        "g12": "(global (ref 4))",
        "g13": "(global nullref)",
    }
    assert described.start
    assert described.counted
    assert described.exported_memory == -1
    assert described.memory == 3 * PAGE + 300


def test_a_description_is_plain_data_with_the_digest_of_the_bytes() -> None:
    """It survives MessagePack, and its digest is the SHA-256 of what was described."""
    wasm = build(EVERYTHING)
    described = describe(wasm)
    assert described.digest == hashlib.sha256(wasm).hexdigest()
    assert exports(msgspec.msgpack.decode(msgspec.msgpack.encode(described), type=type(described))) == exports(
        described
    )


def test_the_empty_module_has_nothing() -> None:
    """No section at all is a module too."""
    described = describe(PREAMBLE)
    assert (described.exports, described.imports, described.memory, described.exported_memory) == ([], [], 0, -1)
    assert not described.start
    assert not described.counted


def test_names_come_through_as_they_are() -> None:
    """A name may be empty, or hold anything that is UTF-8."""
    described = of(r'(module (import "" "\00\n" (func)) (func (export "\f0\9f\a6\80\1b[0m")) (func (export "")))')
    assert [(each.module, each.name) for each in imports(described)] == [("", "\0\n")]
    assert [each.name for each in exports(described)] == ["🦀\x1b[0m", ""]


def test_the_memory_of_an_enormous_module_fits_a_frame() -> None:
    """Sizes that add up to more than 64 bits stay a number that can be encoded."""
    described = of("(module (memory i64 281474976710656) (memory i64 281474976710656))")
    assert described.memory == 2**63 - 1
    msgspec.msgpack.encode(described)


heaps = st.sampled_from(
    ["func", "extern", "any", "eq", "i31", "struct", "array", "exn", "none", "nofunc", "noextern", "noexn"]
)
SHORTHANDS = ["funcref", "externref", "anyref", "eqref", "i31ref", "structref", "arrayref", "exnref", "nullref"]
SHORTHANDS += ["nullfuncref", "nullexternref", "nullexnref"]
common_values = st.sampled_from(["i32", "i64", "f32", "f64", "funcref", "externref"])
nullable = st.sampled_from(SHORTHANDS) | st.just("(ref null 0)")
references = nullable | st.just("(ref 0)") | heaps.map(lambda heap: f"(ref {heap})")
all_values = st.sampled_from(["i32", "i64", "f32", "f64", "v128"]) | references


@st.composite
def extern_types(draw: st.DrawFn, common: bool) -> ExternType:
    """A type that can be imported; a `common` one is of the kind that wasmtime's package can list."""
    values = st.lists(common_values if common else all_values, max_size=6).map(tuple)
    kind = draw(st.sampled_from(["func", "memory", "table", "global"] + ["tag"] * (not common)))
    if kind == "func":
        return FunctionType(draw(values), draw(values))
    if kind == "tag":
        return TagType(draw(values))
    if kind == "global":
        return GlobalType(draw(common_values if common else all_values), draw(st.booleans()))
    wide = draw(st.booleans()) and not (common and kind == "table")  # its listing aborts at a long table
    low, high = sorted(draw(st.tuples(*[st.integers(0, 65_536) | st.integers(0, 2**48 if wide else 65_536)] * 2)))
    maximum = draw(st.sampled_from([None, high]))
    if kind == "memory":
        return MemoryType(low, maximum, wide, False, PAGE)
    element = draw(st.sampled_from(["funcref", "externref"]) if common else references)
    return TableType(element, min(low, 10_000_000), maximum and max(maximum, 10_000_000), wide)


def imported_module(types: list[ExternType]) -> str:
    """A module that imports and exports one of each; type 0 is a function type."""
    lines = ["(module (type (func))"]
    counts: dict[str, int] = {}
    outs = []
    for place, type_ in enumerate(types):
        lines.append(f'(import "module" "in{place}" {type_})')
        kind = str(type_).strip("()").split(" ")[0]
        outs.append(f'(export "out{place}" ({kind} {counts.get(kind, 0)}))')
        counts[kind] = counts.get(kind, 0) + 1
    return "\n".join([*lines, *outs, ")"])


@settings(max_examples=150, deadline=None)
@given(st.lists(extern_types(common=False), max_size=12))
def test_types_come_back_as_they_were_written(types: list[ExternType]) -> None:
    """Any types, written as text, made binary and described, are the same types."""
    described = of(imported_module(types))
    assert [each.type for each in imports(described)] == types
    assert [each.type for each in exports(described)] == types
    assert [each.name for each in imports(described)] == [f"in{place}" for place in range(len(types))]
    assert [each.name for each in exports(described)] == [f"out{place}" for place in range(len(types))]


def named(value: wasmtime.ValType) -> str:
    """A value type's name; wasmtime's package still calls externref by its first name, anyref."""
    return {"anyref": "externref"}.get(str(value), str(value))


def listed(type_: object) -> tuple[object, ...]:
    """One of wasmtime's types, as far as its package tells."""
    match type_:
        case wasmtime.FuncType():
            return ("func", [named(each) for each in type_.params], [named(each) for each in type_.results])
        case wasmtime.MemoryType():
            return ("memory", type_.limits.min, type_.limits.max, type_.is_64)
        case wasmtime.TableType():
            return ("table", named(type_.element), type_.limits.min, type_.limits.max)
        case wasmtime.GlobalType():
            return ("global", named(type_.content), type_.mutable)
    raise AssertionError(type_)


def comparable(type_: ExternType) -> tuple[object, ...]:
    match type_:
        case FunctionType():
            return ("func", list(type_.params), list(type_.results))
        case MemoryType():
            return ("memory", type_.minimum, type_.maximum, type_.memory64)
        case TableType():
            return ("table", type_.element, type_.minimum, type_.maximum)
        case GlobalType():
            return ("global", type_.value, type_.mutable)
    raise AssertionError(type_)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(extern_types(common=True), max_size=6),
    st.lists(st.tuples(st.lists(common_values, max_size=5), st.lists(common_values, max_size=5)), max_size=5),
    st.lists(st.tuples(common_values, st.booleans()), max_size=5),
    st.lists(st.integers(0, 100), max_size=3),
)
def test_wasmtime_lists_the_same(
    types: list[ExternType],
    functions: list[tuple[list[str], list[str]]],
    variables: list[tuple[str, bool]],
    memories: list[int],
) -> None:
    """Names, order and types of exports and imports agree with the engine's own listing."""
    lines = [imported_module(types)[:-1]]
    for place, (params, results) in enumerate(functions):
        type_ = FunctionType(tuple(params), tuple(results))
        lines.append(f'(func (export "f{place}") {str(type_)[5:-1]} unreachable)')
    for place, (value, mutable) in enumerate(variables):
        zero = f"ref.null {value[:-3]}" if value.endswith("ref") else f"{value}.const 0"
        lines.append(f'(global (export "g{place}") {str(GlobalType(value, mutable))[8:-1]} ({zero}))')
    lines += [f'(memory (export "m{place}") {size})' for place, size in enumerate(memories)]
    wasm = build("".join([*lines, ")"]))
    module, described = wasmtime.Module(ENGINE, wasm), describe(wasm)
    assert [(each.name, comparable(each.type)) for each in exports(described)] == [
        (each.name, listed(each.type)) for each in module.exports
    ]
    assert [(each.module, each.name, comparable(each.type)) for each in imports(described)] == [
        (each.module, each.name, listed(each.type)) for each in module.imports
    ]
    assert described.memory == sum(memories) * PAGE


GROW = "(func (drop (memory.grow (i32.const 1))))"
HEAVY = f'(data (i32.const 0) "{"x" * (HEAVY_DATA + 1)}")'
POOLED = {
    "no memory": "(module (func))",
    "a fixed memory": f"(module (memory 2 2) {GROW})",
    "a fixed and exported memory": f'(module (memory (export "memory") 2 2) {GROW})',
    "a memory that nobody grows": "(module (memory 1) (func (drop (i32.load (i32.const 0)))))",
    "a memory without code": "(module (memory 1))",
    "a wide memory that nobody grows": "(module (memory i64 1))",
    "exported with much data": f'(module (memory (export "memory") 10) {GROW} {HEAVY})',
    "references to functions": "(module (type $f (func)) (table 8 funcref) (table 1 (ref null $f)) (elem func))",
    "references in a signature": '(module (func (export "f") (param externref anyref exnref)))',
    "8 tables": "(module" + "(table 1 funcref)" * 8 + ")",
}
COUNTED = {
    "a memory that may grow": f"(module (memory 1) {GROW})",
    "bytes that look like growth": "(module (memory 1) (func (drop (i32.const 0x40)) (block (unreachable))))",
    "exported and may grow": f'(module (memory (export "memory") 1) {GROW})',
    "much data but not exported": f"(module (memory 10) {GROW} {HEAVY})",
    "much data that stays where it is": f'(module (memory (export "m") 1) {GROW} {HEAVY.replace("(i32.const 0)", "")})',
    "two memories": "(module (memory 1 1) (memory 1 1))",
    "an imported memory": '(module (import "env" "memory" (memory 1 1)))',
    "a memory above the pool's size": "(module (memory i64 65537 65537))",
    "a tag": "(module (tag))",
    "an imported tag": '(module (import "env" "tag" (tag)))',
    "a struct type": "(module (type (struct)))",
    "an array type": "(module (type (array i8)))",
    "a table of externref": "(module (table 1 externref))",
    "a global of externref": "(module (global externref (ref.null extern)))",
    "a global of exnref": "(module (global exnref (ref.null exn)))",
    "a table of i31": "(module (table 1 i31ref))",
    "an element segment of i31": "(module (elem i31ref (item (ref.i31 (i32.const 1)))))",
    "9 tables": "(module" + "(table 1 funcref)" * 9 + ")",
    "a long table": "(module (table 100001 funcref))",
    "many globals": "(module" + "(global i32 (i32.const 0))" * 150_001 + ")",
}


@pytest.mark.parametrize("text", POOLED.values(), ids=POOLED)
def test_simple_modules_are_pooled(text: str) -> None:
    """What the pool can hold, and whose memory the engine alone accounts for to the byte, takes the fast way."""
    assert not of(text).counted


@pytest.mark.parametrize("text", COUNTED.values(), ids=COUNTED)
def test_all_others_are_counted(text: str) -> None:
    """Growth that only our own count would show, or a need the pool cannot meet, keeps a module out of it."""
    assert of(text).counted


@pytest.mark.parametrize("text", POOLED.values(), ids=POOLED)
def test_pooled_modules_run_side_by_side(text: str, tmp_path: Path) -> None:
    """What is called fit for the pool can be mapped by a pooled engine, and instantiated as often as it has slots."""
    wasm = build(text)
    engine = Engine("native", instances=3)
    out = ctypes.c_void_p()
    here = ctypes.addressof(out)
    check(capi.module_new(Engine("native").pointer, wasm, len(wasm), here))
    vector = capi.Vector()
    check(capi.module_serialize(out.value, ctypes.addressof(vector)))
    capi.module_delete(out.value)
    artifact = tmp_path / "artifact"
    artifact.write_bytes(capi.take_bytes(vector))
    check(capi.module_deserialize_file(engine.pointer, bytes(artifact), here))
    module = out.value
    linker = capi.linker_new(engine.pointer)
    check(capi.linker_instantiate_pre(linker, module, here))
    pre = out.value
    stores = [capi.store_new(engine.pointer, None, None) for _ in range(3)]
    instance, trap = (ctypes.c_uint64 * 4)(), ctypes.c_void_p()
    for store in stores:
        context = capi.store_context(store)
        check(capi.set_fuel(context, 1_000))
        check(capi.instantiate(pre, context, ctypes.addressof(instance), ctypes.addressof(trap)))
        assert not trap.value
    for store in stores:
        capi.store_delete(store)
    capi.instance_pre_delete(pre)
    capi.linker_delete(linker)
    capi.module_delete(module)


@pytest.mark.parametrize("padding", range(1, 5))
def test_a_growth_in_longer_writing_is_seen(padding: int) -> None:
    """The index in memory.grow may be padded with continuation bytes; wasmtime accepts that, and so it counts."""
    wasm = bytearray(build(f"(module (memory 1) {GROW})"))
    at = wasm.index(b"\x40\x00\x1a")
    wasm[at + 1 : at + 2] = b"\x80" * padding + b"\x00"
    code = wasm.index(b"\x0a\x09\x01\x07")
    wasm[code + 1] += padding
    wasm[code + 3] += padding
    wasmtime.Module.validate(ENGINE, wasm)
    assert describe(bytes(wasm)).counted


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('(module (func (export "f")) (memory (export "memory") 1))', 1),
        ('(module (memory (export "a") (export "b") 1))', 0),
        ('(module (memory 1) (func (export "f")))', -1),
        ('(module (memory (export "a") 1) (memory (export "b") 1))', -1),
        ('(module (import "env" "m" (memory 1)) (export "m" (memory 0)))', -1),
        ('(module (import "env" "m" (memory 1)) (memory (export "m") 1))', -1),
    ],
)
def test_the_place_of_the_one_exported_memory(text: str, place: int) -> None:
    """It counts all exports, and is -1 unless the module has one memory and that is its own."""
    assert of(text).exported_memory == place


def test_a_start_function_is_reported() -> None:
    """Whoever instantiates must know that this already runs guest code."""
    assert of("(module (func $f) (start $f))").start
    assert not of('(module (func (export "_start")))').start


def test_every_beginning_of_a_module_is_described_or_refused() -> None:
    """Cut anywhere, a module makes a `DescribeError` with an offset within what is left, and nothing else."""
    for wasm in (build(EVERYTHING), build(COUNTED["exported and may grow"])):
        for length in range(len(wasm)):
            try:
                describe(wasm[:length])
            except DescribeError as error:
                assert 0 <= int(str(error).rpartition(" ")[2]) <= length  # noqa: PT017 - any prefix may also do


WHOLE = build(EVERYTHING)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.integers(8, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_damaged_module_is_described_or_refused(damage: list[tuple[int, int]]) -> None:
    """Whatever bytes are changed, the answer is a description, or a `DescribeError` if wasmtime refuses them too."""
    wasm = bytearray(WHOLE)
    for place, byte in damage:
        wasm[place] = byte
    try:
        described = describe(bytes(wasm))
    except DescribeError:
        with pytest.raises(wasmtime.WasmtimeError):
            wasmtime.Module.validate(ENGINE, wasm)
    else:
        msgspec.msgpack.encode(described)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_random_bytes_are_described_or_refused(content: bytes, framed: bool) -> None:
    """With and without a preamble, no bytes make anything but a description or a `DescribeError`."""
    wasm = PREAMBLE + content if framed else content
    try:
        described = describe(wasm)
    except DescribeError as error:
        assert 0 <= int(str(error).rpartition(" ")[2]) <= len(wasm)  # noqa: PT017 - a description is right as well
    else:
        assert described.digest == hashlib.sha256(wasm).hexdigest()


@settings(max_examples=500, deadline=None)
@given(st.integers(1, 13), st.binary(max_size=60))
def test_random_sections_are_described_or_refused(kind: int, content: bytes) -> None:
    """No content of any section makes anything but a description or a `DescribeError`."""
    wasm = PREAMBLE + bytes([kind, len(content)]) + content
    try:
        describe(wasm)
    except DescribeError as error:
        assert 0 <= int(str(error).rpartition(" ")[2]) <= len(wasm)  # noqa: PT017 - a description is right as well


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0asm",
        b"\0asm\x0d\0\x01\0",
        PREAMBLE + b"\x01",
        PREAMBLE + b"\x01\x05\x00",
        PREAMBLE + b"\x01\xff\xff\xff\xff\x7f",
        PREAMBLE + b"\x01\x80\x80\x80\x80\x80\x00",
        PREAMBLE + b"\x0e\x00",
        PREAMBLE + b"\x01\x01\x00" * 2,
        PREAMBLE + b"\x01\x02\x00\x00",
        PREAMBLE + b"\x01\x05\xff\xff\xff\xff\x0f",
        PREAMBLE + b"\x01\x07\x01\x60\xff\xff\xff\xff\x0f",
        PREAMBLE + b"\x01\x05\x01\x60\x01\x68\x00",
        PREAMBLE + b"\x01\x06\x01\x60\x01\x63\x68\x00",
        PREAMBLE + b"\x07\x04\x01\x00\x00\x00",
        PREAMBLE + b"\x07\x05\x01\x01\xff\x00\x00",
        PREAMBLE + b"\x05\x03\x01\x10\x01",
        PREAMBLE + b"\x06\x05\x01\x7f\x00\x20\x0b",
    ],
)
def test_nonsense_is_refused(content: bytes) -> None:
    """A list longer than its section, a number too long, an unknown code: each is named with its place."""
    with pytest.raises(DescribeError, match=r" at byte \d+$"):
        describe(content)


def test_a_short_module_cannot_make_a_long_description() -> None:
    """Many exports of one function with many parameters are refused: each names all of the parameters again."""
    many = MAX_DESCRIPTION // 1_001 + 1
    names = "".join(f'(export "{place}" (func $f))' for place in range(many))
    wasm = build(f"(module (func $f (param {'i32 ' * 1_000})) {names})")
    with pytest.raises(DescribeError, match="more than 500000 names and value types"):
        describe(wasm)


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 300), max_size=80))
def test_many_numbers_are_skipped_as_if_one_by_one(numbers: list[int]) -> None:
    """Skipping a list of numbers ends behind the last of them, whatever their lengths."""
    data = b"".join(_leb(number) for number in numbers)
    reader = Reader(data + b"\x80" * 80, 0, len(data) + 80)
    reader.skip_lebs(len(numbers))
    assert reader.at == len(data)


@given(st.integers(0, 2**64 - 1), st.sampled_from([32, 64]))
def test_numbers_are_read_to_the_last_bit(number: int, bits: int) -> None:
    """A number that fits is read, one that does not is refused."""
    reader = Reader(_leb(number), 0, 10)
    reader.end = len(reader.data)
    if number >> bits:
        with pytest.raises(DescribeError, match=f"more than {bits} bits at byte 0"):
            reader.unsigned(bits)
    else:
        assert reader.unsigned(bits) == number


def _leb(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


@pytest.mark.parametrize(
    ("text", "record"),
    [
        ("(module)", 0),
        ("(module (func) (func) (global i32 (i32.const 1)))", 3 * ITEM),
        ("(module (table 1 10 funcref))", 10 * ELEMENT),
        # However far it may grow by its type, the engine lets no table grow further.
        ("(module (table 1 funcref) (table 5 4000000000 externref))", 2 * 100_000 * ELEMENT),
        ('(module (import "e" "t" (table 1 7 funcref)) (import "e" "f" (func)))', 7 * ELEMENT + ITEM),
        ("(component)", 0),
        (
            """(component (core module $m (table 3 4 funcref) (table 2 6 (ref func) (ref.func $f)) (func $f))
            (core instance (instantiate $m)) (core instance (instantiate $m)))""",
            2 * (10 * ELEMENT + ITEM),
        ),
        # Who instantiates a module of a nested component, and how often, is not followed: as often as can be.
        ("(component (component (core module (func) (func))))", INSTANCES * 2 * ITEM),
    ],
)
def test_what_an_instance_takes_beside_its_memories_is_known(text: str, record: int) -> None:
    """Tables as large as they can become, functions and globals: the most that an instance's record comes to."""
    wasm = bytes(wasmtime.wat2wasm(text))
    assert (needs(wasm) if text.startswith("(component") else describe(wasm)).record == record


@pytest.mark.parametrize(
    ("text", "growing"),
    [
        ("(module)", False),
        ('(module (memory (export "m") 1))', False),
        ('(module (memory (export "m") 1 1) (func (drop (memory.grow (i32.const 1)))))', False),
        ('(module (memory (export "m") 1 2) (func (drop (memory.grow (i32.const 1)))))', True),
        ("(module (memory 1) (func (drop (memory.grow (i32.const 1)))))", True),
        # More than one memory is counted, and what is counted may grow.
        ("(module (memory 1) (memory 1))", True),
    ],
)
def test_whether_a_memory_can_grow_is_known(text: str, growing: bool) -> None:
    """By its type, or because no code of the module could make it."""
    assert of(text).growing is growing
