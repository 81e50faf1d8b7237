"""Arguments of calls, as Python and as JSON values, against the types of core and component functions; and results.

An argument is refused as `InvalidArguments` in one line, or becomes what the type says. What a component is given, and
what a hostile worker says that it returned, survives the way into frames, Python and JSON and back.
"""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from fuzz.drawing import Draw
from wasmq import wit
from wasmq.admission import as_value, check_arguments
from wasmq.errors import InvalidArguments
from wasmq.server.json_values import json_value, read_arguments
from wasmq.types import NUMBERS, PASSABLE, FunctionType, is_value
from wasmq.wit_json import from_json, to_json
from wasmq.wit_values import Case, Err, Ok, Some, pack_arguments, pack_result, read_result
from wasmq_worker.protocol import Assignment, Decoder, Downward, Start, pack

_KINDS: Final = (*sorted(NUMBERS), *sorted(PASSABLE), "(ref null 3)")
_PRIMITIVES: Final = wit.Primitive.__args__  # type: ignore[attr-defined]
_LABELS: Final = ("a", "some-name", "ok", "err", "some", "None", "b", "x1")


def _python(draw: Draw, depth: int = 4) -> Any:
    """Return whatever a caller might pass."""
    kind = draw.below(20 if depth else 9)
    match kind:
        case 0:
            return draw.integer() << draw.choice((0, 0, 64, 300))
        case 1:
            return draw.real()
        case 2:
            return draw.octets(20)
        case 3:
            return draw.text()
        case 4:
            return draw.flag()
        case 5:
            return None
        case 6:
            return bytearray(draw.octets(17))
        case 7:
            return draw.choice(_LABELS)
        case 8:
            return object()
        case 9:
            return tuple([_python(draw, depth - 1) for _ in range(draw.below(4))])
        case 10:
            return {draw.choice(_LABELS): _python(draw, depth - 1) for _ in range(draw.below(4))}
        case 11:
            return {draw.integer(): _python(draw, depth - 1)}
        case 12:
            return frozenset(draw.choice(_LABELS) for _ in range(draw.below(4)))
        case 13 | 14:
            return draw.choice((Ok, Err, Some))(_python(draw, depth - 1))
        case 15:
            return Case(draw.choice((*_LABELS, draw.text())), _python(draw, depth - 1))
        case 16:
            return Case(draw.integer(), None)  # type: ignore[arg-type]
        case 17:
            return memoryview(draw.octets(9))
        case 18:
            return range(draw.byte())
    return [_python(draw, depth - 1) for _ in range(draw.below(5))]


def _labels(draw: Draw, most: int) -> tuple[str, ...]:
    """Return names that are all different, as a component's are."""
    count = 1 + draw.below(most)
    return tuple([_LABELS[place] if place < len(_LABELS) else f"n{place}" for place in range(count)])


def _type(draw: Draw, depth: int = 4) -> wit.ValueType:
    kind = draw.below(13) if depth else 0
    match kind:
        case 4 | 5:
            return wit.List(_type(draw, depth - 1))
        case 6:
            return wit.Option(_type(draw, depth - 1))
        case 7:
            return wit.Result(_maybe(draw, depth), _maybe(draw, depth))
        case 8:
            return wit.Tuple(tuple([_type(draw, depth - 1) for _ in range(1 + draw.below(4))]))
        case 9:
            return wit.Record(tuple([wit.Field(name, _type(draw, depth - 1)) for name in _labels(draw, 5)]), None)
        case 10:
            return wit.Variant(tuple([wit.Case(name, _maybe(draw, depth)) for name in _labels(draw, 5)]), None)
        case 11:
            return wit.Enum(_labels(draw, 8), None)
        case 12:
            return wit.Flags(_labels(draw, 70), None)
    return draw.choice(_PRIMITIVES)


def _maybe(draw: Draw, depth: int) -> wit.ValueType | None:
    return _type(draw, depth - 1) if draw.flag() else None


def _fitting(draw: Draw, of: wit.ValueType) -> Any:
    """Return a value of a type, nearly always: somewhere in it there may be another."""
    if draw.below(24) == 23:
        return _python(draw, 1)
    match of:
        case "bool":
            return draw.flag()
        case "f32" | "f64":
            return draw.real()
        case "char":
            return draw.text()[:1]
        case "string":
            return draw.text()
        case str():
            return draw.integer()
        case wit.List():
            if of.element == "u8" and draw.flag():
                return draw.octets(9)
            return [_fitting(draw, of.element) for _ in range(draw.below(4))]
        case wit.Option():
            if draw.flag():
                return None
            inside = _fitting(draw, of.some)
            return Some(inside) if draw.flag() else inside
        case wit.Result():
            good = draw.flag()
            inner = of.ok if good else of.err
            return (Ok if good else Err)(None if inner is None else _fitting(draw, inner))
        case wit.Tuple():
            return tuple([_fitting(draw, item) for item in of.items])
        case wit.Record():
            return {field.name: _fitting(draw, field.type) for field in of.fields}
        case wit.Variant():
            case = draw.choice(of.cases)
            return Case(case.name, None if case.type is None else _fitting(draw, case.type))
        case wit.Enum():
            return draw.choice(of.names)
        case wit.Flags():
            return [draw.choice(of.names) for _ in range(draw.below(5))]
    raise AssertionError(of)


def _refused(error: Exception) -> None:
    line = str(error)
    assert "\n" not in line, line
    assert len(line) <= 5_000, len(line)


def _core(draw: Draw, *, as_json: bool) -> None:
    """Match arguments with a core function's parameters."""
    params = tuple([draw.choice(_KINDS) for _ in range(draw.below(6))])
    count = len(params) if draw.below(8) else draw.below(7)
    given = [draw.json() if as_json else _python(draw) for _ in range(count)]
    function = FunctionType(params, ())
    try:
        args = check_arguments("f", function, read_arguments(function, given, "jobs[0]: ") if as_json else given)
    except InvalidArguments as error:
        _refused(error)
        return
    except KeyError as error:
        # Admission asks only for exports whose parameters can be passed: the module has no place for the others.
        assert not PASSABLE.issuperset(params), error
        return
    assert all(map(is_value, params, args))
    frame = Start([Assignment(1, 1, 0, args, 1, 1, 1.0, 1, 1, 1.0)])
    (back,) = Decoder[Any](Downward).feed(pack(frame))
    assert repr(back) == repr(frame)
    again = read_arguments(function, [json_value(value) for value in args])
    assert repr(tuple(map(as_value, params, again))) == repr(args)


def _component(draw: Draw, *, as_json: bool) -> None:
    """Match arguments with a component function's parameters, and see them come out as they went in."""
    params = tuple([wit.Field(name, _type(draw)) for name in _labels(draw, 3)])
    function = wit.Func(params, None, False)
    given = [draw.json() if as_json else _fitting(draw, param.type) for param in params]
    if not draw.below(8):
        given.append(None)
    try:
        packed = pack_arguments("f", function, read_arguments(function, given) if as_json else given)
    except InvalidArguments as error:
        _refused(error)
        return
    wires = msgspec.msgpack.decode(packed)
    for param, wire in zip(params, wires, strict=True):
        _there_and_back(param.type, msgspec.msgpack.encode(wire))


def _there_and_back(of: wit.ValueType, packed: bytes) -> None:
    """See that a value of a type can be read, packed again, and said in JSON."""
    value = read_result(of, packed)
    assert _same(read_result(of, pack_result(of, value)), value)
    said = msgspec.json.decode(msgspec.json.encode(to_json(of, value)))
    back = read_result(of, pack_result(of, from_json(of, said)))
    assert _same(back, value), (of, value, said, back)


def _same(one: Any, other: Any) -> bool:
    """Compare values in which a NaN is one."""
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (Ok, Err, Some)):
        return _same(one.value, other.value)
    if isinstance(one, Case):
        return one.name == other.name and _same(one.value, other.value)
    return bool(one == other)


def _result(draw: Draw) -> None:
    """Read what a worker says that a component returned."""
    of = _maybe(draw, 5)
    packed = draw.rest()
    try:
        read_result(of, packed)
    except ValueError:
        return
    if of is not None:
        _there_and_back(of, packed)


def fuzz(data: bytes) -> None:
    """Match values with types. Raises when that ends in anything but a match or a refusal."""
    draw = Draw(data)
    match draw.below(5):
        case 0:
            _core(draw, as_json=False)
        case 1:
            _core(draw, as_json=True)
        case 2:
            _component(draw, as_json=False)
        case 3:
            _component(draw, as_json=True)
        case _:
            _result(draw)
