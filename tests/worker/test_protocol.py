"""The frames: what goes in comes out however the stream is cut, and nothing but frames comes out."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wasmq_worker.protocol import (
    MAX_ARTIFACT,
    MAX_FRAME,
    Compiled,
    CompileRequest,
    CompilerReady,
    CompilerSetup,
    Decoder,
    Downward,
    Ended,
    Outcomes,
    ProtocolError,
    Rejected,
    Splitter,
    Translated,
    Upward,
    pack,
    pack_raw,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

INTEGERS = st.integers(-(2**63), 2**64 - 1)
FLOATS = st.floats(allow_nan=False)
TEXT = st.text(max_size=12)


def frames_of(struct_type: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Return a strategy for one kind of frame, by the types that its fields declare."""
    fields = msgspec.inspect.type_info(struct_type).fields  # type: ignore[attr-defined]
    return st.builds(struct_type, **{field.name: _field(field.type) for field in fields})


def _field(info: msgspec.inspect.Type) -> st.SearchStrategy[Any]:
    inspect = msgspec.inspect
    match info:
        case inspect.IntType():
            return INTEGERS if info.ge is None else st.integers(info.ge, info.le)
        case inspect.FloatType():
            return FLOATS if info.ge is None else st.floats(info.ge, info.le)
        case inspect.StrType():
            return TEXT if info.pattern is None else st.from_regex(info.pattern)
        case inspect.BytesType():
            return st.binary(max_size=16)
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case inspect.AnyType():
            return INTEGERS | TEXT | st.lists(TEXT, max_size=3)
        case inspect.UnionType():
            return st.one_of([_field(part) for part in info.types])
        case inspect.ListType():
            return st.lists(_field(info.item_type), max_size=4)
        case inspect.VarTupleType():
            return st.lists(_field(info.item_type), max_size=4).map(tuple)
        case inspect.DictType():
            return st.dictionaries(_field(info.key_type), _field(info.value_type), max_size=3)
        case inspect.StructType():
            return frames_of(info.cls)
    raise NotImplementedError(info)


DOWNWARD = st.one_of([frames_of(frame) for frame in get_args(Downward)])
UPWARD = st.one_of([frames_of(frame) for frame in get_args(Upward)])
COMPILING = st.one_of(
    [frames_of(frame) for frame in (CompilerSetup, CompilerReady, CompileRequest, Compiled, Translated, Rejected)]
)


@st.composite
def cuts(draw: st.DrawFn, stream: bytes) -> Sequence[bytes]:
    """Cut a stream anywhere, also into empty pieces and single bytes."""
    places = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    return [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]


@given(frames=st.lists(DOWNWARD, max_size=5), data=st.data())
def test_downward_frames_survive_any_chunking(frames: list[msgspec.Struct], data: st.DataObject) -> None:
    """Frames come out whole, equal and in order, wherever the stream is cut."""
    decoder: Decoder[Any] = Decoder(Downward)
    stream = b"".join(map(pack, frames))
    assert [frame for piece in data.draw(cuts(stream)) for frame in decoder.feed(piece)] == frames


@given(frames=st.lists(UPWARD, max_size=5), data=st.data())
def test_upward_frames_survive_any_chunking(frames: list[msgspec.Struct], data: st.DataObject) -> None:
    """Frames come out whole, equal and in order, wherever the stream is cut."""
    decoder: Decoder[Any] = Decoder(Upward)
    stream = b"".join(map(pack, frames))
    assert [frame for piece in data.draw(cuts(stream)) for frame in decoder.feed(piece)] == frames


@given(frame=COMPILING)
def test_compile_frames_survive(frame: msgspec.Struct) -> None:
    """What is asked of a compile process, and what it answers, comes out equal."""
    (payload,) = Splitter().feed(pack(frame))
    assert (
        msgspec.msgpack.decode(
            payload, type=CompilerSetup | CompilerReady | CompileRequest | Compiled | Translated | Rejected
        )
        == frame
    )


@given(frames=st.lists(UPWARD, min_size=1, max_size=3))
@settings(max_examples=30)
def test_a_byte_at_a_time(frames: list[msgspec.Struct]) -> None:
    """A frame comes out with its last byte and not before."""
    decoder: Decoder[Any] = Decoder(Upward)
    for frame in frames:
        *most, last = pack(frame)
        assert not any(decoder.feed(bytes([byte])) for byte in most)
        assert decoder.feed(bytes([last])) == [frame]


@given(payloads=st.lists(st.binary(max_size=64), max_size=6), data=st.data())
def test_raw_frames_survive_any_chunking(payloads: list[bytes], data: st.DataObject) -> None:
    """A splitter gives back the payloads, empty ones too, and knows nothing of what is in them."""
    splitter = Splitter()
    stream = b"".join(map(pack_raw, payloads))
    assert [payload for piece in data.draw(cuts(stream)) for payload in splitter.feed(piece)] == payloads


def test_special_floats_survive_bit_for_bit() -> None:
    """NaN, infinities and -0.0 are the same bits on the other side; a whole float stays a float."""
    values = (float("nan"), float("inf"), float("-inf"), -0.0, 2.0, 5e-324)
    decoder: Decoder[Any] = Decoder(Upward)
    (frame,) = decoder.feed(pack(Outcomes([Ended(1, "succeeded", values)])))
    back = frame.ended[0].values
    assert [struct.pack("<d", value) for value in back] == [struct.pack("<d", value) for value in values]
    assert all(type(value) is float for value in back)


@pytest.mark.parametrize("limit", [0, 16, MAX_FRAME, MAX_ARTIFACT])
def test_a_length_above_the_limit_is_refused_at_once(limit: int) -> None:
    """The length alone is enough to refuse: nothing of such a frame is waited for or stored."""
    splitter = Splitter(limit)
    with pytest.raises(ProtocolError, match=rf"frame of {limit + 1} bytes is above the limit of {limit}$"):
        splitter.feed(struct.pack("<I", limit + 1))


def test_a_length_at_the_limit_is_accepted() -> None:
    """The limit itself is allowed, for the splitter and for who packs."""
    assert Splitter(16).feed(pack_raw(bytes(16), 16)) == [bytes(16)]
    with pytest.raises(ProtocolError, match="17 bytes is above the limit of 16"):
        pack_raw(bytes(17), 16)


def test_a_bad_length_behind_good_frames_is_seen() -> None:
    """Good frames before it in the same piece do not hide a length above the limit."""
    with pytest.raises(ProtocolError, match="above the limit"):
        Splitter(16).feed(pack_raw(b"good", 16) + b"\xff\xff\xff\xff")


@given(garbage=st.binary(max_size=200), direction=st.sampled_from([Downward, Upward]))
def test_garbage_is_a_protocol_error_or_nothing(garbage: bytes, direction: Any) -> None:
    """Bytes from a hostile process raise `ProtocolError` or are frames of the direction; nothing else is raised."""
    _only_protocol_errors(Decoder(direction), garbage, direction)


@given(payload=st.binary(max_size=200), direction=st.sampled_from([Downward, Upward]))
def test_a_well_framed_garbage_payload_is_a_protocol_error_or_a_frame(payload: bytes, direction: Any) -> None:
    """The same when the length is right and the payload is any bytes."""
    _only_protocol_errors(Decoder(direction), pack_raw(payload), direction)


@given(frame=UPWARD, data=st.data())
def test_a_damaged_frame_is_a_protocol_error_or_another_frame(frame: msgspec.Struct, data: st.DataObject) -> None:
    """One byte of a good frame's payload changed: `ProtocolError`, or what now is a frame."""
    payload = bytearray(pack(frame)[4:])
    payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    _only_protocol_errors(Decoder(Upward), pack_raw(bytes(payload)), Upward)


@given(frame=DOWNWARD)
def test_a_frame_of_the_other_direction_is_refused(frame: msgspec.Struct) -> None:
    """A worker that sends what only the scheduler may send is told apart from one that speaks."""
    with pytest.raises(ProtocolError, match="not a frame"):
        Decoder(Upward).feed(pack(frame))


@pytest.mark.parametrize("depth", [100, 2_000, 100_000])
@pytest.mark.parametrize(
    "start",
    [b"\x93\xa5Ready\xa1x", b"\x92\xa8Outcomes", b"\x94\xaaUnmappable\x01\xa1x", b""],
    ids=["one element too many", "a list of outcomes", "a list of tickets", "no frame"],
)
def test_deep_nesting_is_not_the_end(start: bytes, depth: int) -> None:
    """Arrays nested however deep cost a `ProtocolError` at most, never the interpreter's stack."""
    _only_protocol_errors(Decoder(Upward), pack_raw(start + b"\x91" * depth + b"\xc0"), Upward)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91\xa5Ready"],
    ids=["empty", "reserved", "endless array", "endless text", "endless bytes", "too short"],
)
def test_announced_sizes_are_not_believed(payload: bytes) -> None:
    """A payload that announces more than it holds is refused."""
    with pytest.raises(ProtocolError, match="not a frame"):
        Decoder(Upward).feed(pack_raw(payload))


def _only_protocol_errors(decoder: Decoder[Any], stream: bytes, direction: Any) -> None:
    try:
        frames = decoder.feed(stream)
    except ProtocolError:
        return
    assert all(isinstance(frame, direction) for frame in frames)
