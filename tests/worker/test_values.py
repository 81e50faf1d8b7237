"""Core values keep their bits on the way in and out."""

import ctypes
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmq_worker.protocol import Reference
from wasmq_worker.values import KINDS, SIZE, Layout


def widened(bits):
    """An f32's NaN as the API has it: the same sign and payload, moved up."""
    return struct.unpack("<d", struct.pack("<Q", (bits >> 31) << 63 | 0x7FF << 52 | (bits & 0x7F_FFFF) << 29))[0]


def bits_of(number):
    """A float's 64 bits."""
    return struct.unpack("<Q", struct.pack("<d", number))[0]


def buffer_of(slots):
    """A buffer, its address, and what keeps it in place."""
    buffer = bytearray(SIZE * slots)
    anchor = (ctypes.c_char * len(buffer)).from_buffer(buffer)
    return buffer, ctypes.addressof(anchor), anchor


@given(sign=st.booleans(), payload=st.integers(1, 2**23 - 1))
def test_an_f32_nan_keeps_its_bits(sign, payload):
    """Quiet or signalling, whatever its payload: in, and out again."""
    bits = sign << 31 | 0x7F80_0000 | payload
    number = widened(bits)
    layout = Layout(("i32", "f32"), ("i32", "f32"))
    buffer, address, _anchor = buffer_of(2)
    layout.write(buffer, 0, (7, number))
    assert struct.unpack_from("<I", buffer, SIZE + 8) == (bits,)
    integer, came = layout.read(buffer, address, 0)
    assert (integer, bits_of(came)) == (7, bits_of(number))


@given(bits=st.integers(0, 2**64 - 1))
def test_an_f64_keeps_its_bits(bits):
    """Whatever they are."""
    (number,) = struct.unpack("<d", struct.pack("<Q", bits))
    layout = Layout(("f64",), ("f64",))
    buffer, address, _anchor = buffer_of(1)
    layout.write(buffer, 0, (number,))
    assert bits_of(layout.read(buffer, address, 0)[0]) == bits


def test_a_payload_that_has_no_room_is_still_a_nan():
    """An f64's NaN whose payload is all in its low bits does not become an infinity."""
    (number,) = struct.unpack("<d", struct.pack("<Q", 0x7FF0_0000_0000_0001))
    layout = Layout(("f32",), ("f32",))
    buffer, address, _anchor = buffer_of(1)
    layout.write(buffer, 0, (number,))
    assert struct.unpack_from("<I", buffer, 8) == (0x7FC0_0000,)
    assert math.isnan(layout.read(buffer, address, 0)[0])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.endswith("ref")])
def test_null_goes_in_and_comes_out(kind):
    """A null reference of each type, beside a number."""
    layout = Layout((kind, "i64"), (kind, "i64"))
    buffer, address, _anchor = buffer_of(2)
    buffer[:] = b"\xff" * len(buffer)
    layout.write(buffer, 0, (None, -1))
    assert buffer[0] == KINDS[kind]
    assert not any(buffer[8:16])
    assert layout.read(buffer, address, 0) == (None, -1)


def test_another_reference_comes_out_as_its_kind():
    """Functions need nothing of their store to be recognised."""
    layout = Layout((), ("(ref 3)", "i32"))
    buffer, address, _anchor = buffer_of(2)
    struct.pack_into("<B7xQQ", buffer, 0, KINDS["funcref"], 5, 1)
    struct.pack_into("<B7xi", buffer, SIZE, 0, 9)
    assert layout.read(buffer, address, 0) == (Reference("funcref"), 9)
