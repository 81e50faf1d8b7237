"""Modules and components as they are loaded: bytes in, a description out, or one line why not.

In turn: modules built of drawn parts, seeds with some bytes changed, text, bytes; each is read by our own readers as it
is, and then goes the way that a module goes. What a compile process that is in a guest's hands describes is converted
on the trusted side, which believes none of it.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any, Final

import msgspec

from fuzz.drawing import Draw
from wasmq import wit
from wasmq.admission import check_call, check_export
from wasmq.compiling import Compiler
from wasmq.config import ModulesConfig
from wasmq.errors import InvalidArguments, InvalidModule, UnknownExport
from wasmq.modules.module import Module, module_of
from wasmq.server.modules import module_body
from wasmq.supply import arrange
from wasmq.types import printable
from wasmq_worker import capi
from wasmq_worker.binary import DescribeError
from wasmq_worker.compiler import MAGIC, answer
from wasmq_worker.components.names import type_names
from wasmq_worker.components.sections import needs
from wasmq_worker.describe import describe
from wasmq_worker.protocol import Compiled, CompileRequest, Described, Splitter, Translated

_GUESTS: Final = Path(__file__).parents[2] / "workers" / "guests"
_PREAMBLE: Final = MAGIC + b"\1\0\0\0"
_COMPONENT: Final = MAGIC + b"\x0d\0\1\0"
_TYPES: Final = b"\x7f\x7e\x7d\x7c\x7b\x70\x6f\x6e\x69\x64\x63\x00"
_NAMES: Final = ("", "a", "memory", "_start", "_initialize", "wasi_snapshot_preview1", "fd_write", "env", "é", "\n")
_COMPILER: Final = Compiler(ModulesConfig(), "native")
_REQUEST: Final = CompileRequest("interpreter", 10.0, 2**30)


def _wasm(text: bytes) -> bytes:
    vector = capi.Vector()
    error = capi.wat2wasm(text, len(text), ctypes.addressof(vector))
    assert not error
    return capi.take_bytes(vector)


def _seeds() -> tuple[bytes, ...]:
    """Return small modules and components that are valid."""
    texts = [path.read_bytes() for path in sorted(_GUESTS.glob("*.wat"))]
    texts += [path.read_bytes() for path in sorted((_GUESTS / "components").glob("*.wat"))]
    return tuple(map(_wasm, texts))


_SEEDS: Final = _seeds()


def _leb(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _list(parts: list[bytes]) -> bytes:
    return _leb(len(parts)) + b"".join(parts)


def _name(draw: Draw) -> bytes:
    text = draw.choice(_NAMES).encode() if draw.below(8) else draw.octets(12)
    return _leb(len(text)) + text


def _value(draw: Draw) -> bytes:
    code = draw.choice(_TYPES)
    return bytes([code]) + (bytes([draw.choice(b"\x70\x6f\x00\x01")]) if code in (0x63, 0x64) else b"")


def _limits(draw: Draw) -> bytes:
    flags = draw.below(8) or draw.byte()
    least = draw.below(4)
    most = _leb(least + draw.byte()) if flags & 1 else b""
    return bytes([flags]) + _leb(least) + most + (_leb(draw.below(17)) if flags & 8 else b"")


def _extern(draw: Draw) -> bytes:
    match draw.below(5):
        case 0:
            return b"\0" + _leb(draw.below(3))
        case 1:
            return b"\1" + _value(draw) + _limits(draw)
        case 2:
            return b"\2" + _limits(draw)
        case 3:
            return b"\3" + _value(draw) + bytes([draw.below(2)])
    return b"\4\0" + _leb(draw.below(3))


def _several(draw: Draw, most: int) -> range:
    return range(draw.below(most + 1))


def _built(draw: Draw) -> bytes:
    """Return a module of sections that go together, more or less."""
    types = [
        b"\x60" + _list([_value(draw) for _ in _several(draw, 3)]) + _list([_value(draw) for _ in _several(draw, 2)])
        for _ in _several(draw, 3)
    ]
    functions = [_leb(draw.below(3)) for _ in _several(draw, 3)]
    body = draw.choice((b"\0\0\x0b", b"\0\x20\0\x40\0\x1a\0\x0b", b"\0\x0b"))
    zero = draw.choice((b"\x41\0\x0b", b"\xd0\x70\x0b", b"\x42\0\x0b", b"\x23\0\x0b"))
    sections = {
        1: types,
        2: [_name(draw) + _name(draw) + _extern(draw) for _ in _several(draw, 3)],
        3: functions,
        4: [_value(draw) + _limits(draw) for _ in _several(draw, 2)],
        5: [_limits(draw) for _ in _several(draw, 2)],
        13: [b"\0" + _leb(draw.below(3)) for _ in _several(draw, 1)],
        6: [_value(draw) + bytes([draw.below(2)]) + zero for _ in _several(draw, 2)],
        7: [_name(draw) + bytes([draw.below(5)]) + _leb(draw.below(3)) for _ in _several(draw, 4)],
        9: [bytes([draw.below(8)]) + draw.octets(6) for _ in _several(draw, 1)],
        10: [_leb(len(body)) + body for _ in functions],
        11: [b"\0" + zero + _leb(2) + b"ab" for _ in _several(draw, 1)],
    }
    wasm = _PREAMBLE
    for kind, parts in sections.items():
        if parts:
            content = _list(parts)
            wasm += bytes([kind]) + _leb(len(content)) + content
    return wasm


def _changed(draw: Draw, wasm: bytes) -> bytes:
    """Return bytes with some of them changed."""
    changed = bytearray(wasm)
    for _ in range(draw.below(6)):
        at = draw.below(len(changed) + 1)
        match draw.below(4):
            case 0:
                changed[at : at + 1] = draw.take(1)
            case 1:
                changed[at:at] = draw.octets(6)
            case 2:
                del changed[at : at + draw.below(20)]
            case _:
                start = draw.below(len(changed) + 1)
                changed[at:at] = changed[start : start + draw.below(40)]
    return bytes(changed)


def _read(wasm: bytes) -> None:
    """Let our own readers have bytes that nobody has validated."""
    for reader in (describe, needs):
        try:
            reader(wasm)
        except DescribeError as error:
            assert str(error).isprintable()
    type_names(wasm)


def _loaded(source: bytes) -> Module | None:
    """Load bytes as a compile process and the library do; None when they are refused."""
    try:
        made, data = _answered(source)
        if isinstance(made, Translated):
            source = data
            made, _ = _answered(source)
    except InvalidModule as error:
        assert str(error).isprintable()
        return None
    assert isinstance(made, Compiled)
    # What an honest process describes is never refused here.
    return module_of(made.description, Path("artifact"), len(source))


def _answered(source: bytes) -> tuple[Compiled | Translated, bytes]:
    return _COMPILER._read(Splitter(2**30).feed(b"".join(answer(_REQUEST, source))), 0.0)


def _look_at(module: Module, draw: Draw) -> None:
    """Do with a module what is done with one: show it, call it, link it."""
    msgspec.json.encode(module_body(module))
    for each in (*module.exports, *module.imports):
        assert str(each).isprintable()
    for name in (None, *[each.name for each in module.exports[:5]]):
        try:
            check_call(module, check_export(module, name), [draw.json(2) for _ in _several(draw, 3)])
        except (UnknownExport, InvalidArguments) as error:
            assert "\n" not in str(error)
    names = sorted({each.module for each in module.imports} | {"env"})
    for linked in ((), tuple((name, module) for name in names)):
        if linked and module.kind != "module":
            continue
        try:
            arrangement = arrange(module, linked)
        except InvalidArguments as error:
            assert "a cycle" in str(error)
            continue
        for _, supply in arrangement.missing:
            assert supply.problem
            assert printable(supply.problem, 10**6) == supply.problem
    arrange.cache_clear()


def _described(draw: Draw) -> None:
    """Convert what a hostile compile process describes."""
    exports, imports = [_item(draw) for _ in _several(draw, 4)], [_item(draw, 2) for _ in _several(draw, 3)]
    offers = [draw.choice((None, True, "x", ["func", [], []], draw.json(2))) for _ in imports]
    if not draw.below(8):
        offers.append(None)
    kind = draw.choice(("module", "component", "x"))
    numbers = [draw.integer() for _ in range(4)]
    frame: list[Any] = [
        "Described",
        "0" * 64,
        exports,
        imports,
        offers,
        draw.flag(),
        draw.flag(),
        *numbers[:2],
        kind,
        *numbers[2:],
        draw.flag(),
    ]
    try:
        packed = msgspec.msgpack.encode(["Compiled", frame, "1", 1.0])
        compiled = msgspec.msgpack.decode(packed, type=Compiled)
    except (UnicodeEncodeError, OverflowError, msgspec.ValidationError):
        return
    _converted(compiled.description, draw)


def _converted(described: Described, draw: Draw) -> None:
    try:
        module = module_of(described, Path("artifact"), 1)
    except (msgspec.ValidationError, ValueError, RecursionError):
        return  # which the library says in its own words
    _look_at(module, draw)
    for cap in (1, 2**20, 2**63 - 1):
        assert 0 <= module.memory_within(cap) <= cap


def _item(draw: Draw, names: int = 1) -> list[Any]:
    texts: list[Any] = [draw.choice(_NAMES) for _ in range(names)]
    match draw.below(10):
        case 0:
            type_: Any = ["func", ["i32"] * draw.below(3), [draw.text()]]
        case 1:
            type_ = ["func", [draw.choice(("i32", "v128", "externref", "(ref 1)"))], []]
        case 2:
            type_ = [
                "memory",
                draw.integer(),
                draw.choice((None, draw.integer())),
                draw.flag(),
                draw.flag(),
                draw.integer(),
            ]
        case 3:
            type_ = ["table", "funcref", draw.integer(), None, draw.flag()]
        case 4:
            type_ = ["global", draw.choice(("i32", "externref")), draw.flag()]
        case 5:
            type_ = ["tag", []]
        case 6 | 7:
            params = [[draw.choice(("a", "b-c", "\n")), _wit(draw, 4)] for _ in _several(draw, 3)]
            type_ = ["wit-func", params, draw.choice((None, _wit(draw, 4))), draw.flag()]
        case 8:
            type_ = draw.choice(
                (["wit-type", _wit(draw, 3)], ["wit-resource", draw.text()], ["wit-other", draw.text()])
            )
        case _:
            type_ = draw.json()
    return [*texts, type_]


def _wit(draw: Draw, depth: int) -> Any:
    match draw.below(9 if depth else 2):
        case 0:
            return draw.choice(wit.Primitive.__args__)  # type: ignore[attr-defined]
        case 1:
            return draw.choice((["own", draw.text()], ["other", "stream"], draw.text()))
        case 2:
            return ["list", _wit(draw, depth - 1)]
        case 3:
            return ["option", _wit(draw, depth - 1)]
        case 4:
            return ["result", _wit(draw, depth - 1), None]
        case 5:
            return ["tuple", [_wit(draw, depth - 1) for _ in _several(draw, 3)]]
        case 6:
            return [
                "record",
                [[draw.choice(("a", "b")), _wit(draw, depth - 1)] for _ in _several(draw, 3)],
                draw.choice((None, "r")),
            ]
        case 7:
            return ["variant", [[draw.choice(("a", "b")), None] for _ in _several(draw, 3)], None]
    return [draw.choice(("enum", "flags")), [draw.choice(("a", "b", "c")) for _ in _several(draw, 4)], None]


def fuzz(data: bytes) -> None:
    """Load something. Raises when that ends in anything but a module or a refusal."""
    draw = Draw(data)
    match draw.below(8):
        case 0 | 1:
            _described(draw)
            return
        case 2:
            source = draw.rest()
        case 3:
            source = draw.choice((_PREAMBLE, _COMPONENT)) + draw.rest()
        case 4 | 5:
            source = _built(draw)
        case _:
            source = _changed(draw, draw.choice(_SEEDS))
    _read(source)
    module = _loaded(source)
    if module is not None:
        _look_at(module, draw)
