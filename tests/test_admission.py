"""What is refused before it is queued, and the words in which."""

import math
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmq import admission
from wasmq.config import LimitCeilings, LimitsConfig, Size
from wasmq.errors import InvalidArguments, InvalidLimit, LimitTooHigh, UnknownExport, UnsatisfiedImport
from wasmq.host import HostFunctions
from wasmq.job import Caps, Limits
from wasmq.modules import Module
from wasmq.types import Extern, FunctionType, Import, MemoryType

LIMITS = LimitsConfig(
    fuel=1_000,
    memory=Size(65_536),
    timeout=1.0,
    output=Size(100),
    max=LimitCeilings(fuel=10_000, memory=Size(2**20), timeout=5.0, output=Size(1_000)),
)


def function(*params, results=()):
    """A function's type."""
    return FunctionType(params, results)


def module_of(*exports, imports=()):
    """A module with these exports, as the library would describe it."""
    return Module(
        digest="d" * 64,
        kind="module",
        exports=exports,
        imports=imports,
        offers=(None,) * len(imports),
        size=1,
        artifact=Path("/nowhere"),
        counted=False,
        start=False,
        memory=0,
        exported_memory=-1,
    )


def check(param, arg):
    """One argument of one parameter's type, as it goes to the guest."""
    (value,) = admission.check_arguments("f", function(param), (arg,))
    return value


@pytest.mark.parametrize("bits", [32, 64])
@given(data=st.data())
def test_integers_in_the_signed_or_unsigned_range_keep_their_bits(bits, data):
    """What comes out is signed, and the same bits as what went in."""
    arg = data.draw(st.integers(-(2 ** (bits - 1)), 2**bits - 1))
    value = check(f"i{bits}", arg)
    assert -(2 ** (bits - 1)) <= value < 2 ** (bits - 1)
    assert (value - arg) % 2**bits == 0


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("beyond", [-1, 1, 2**200])
def test_integers_outside_both_ranges_are_refused(bits, beyond):
    """One below the signed range and one above the unsigned range are outside; huge ones are not printed in full."""
    arg = -(2 ** (bits - 1)) - 1 if beyond < 0 else 2**bits - 1 + beyond
    with pytest.raises(
        InvalidArguments, match=rf"^argument 1 of 'f' is i{bits}: .* is outside its range, signed or unsigned$"
    ) as caught:
        check(f"i{bits}", arg)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("arg", [True, 1.0, "1", None, b"1", [1], 1 + 0j])
@pytest.mark.parametrize("param", ["i32", "i64"])
def test_only_an_int_is_an_integer(param, arg):
    """Nothing is converted behind the caller's back; the message shows the value and its type."""
    with pytest.raises(InvalidArguments, match=rf"is {param}: wants an int, got .*\({type(arg).__name__}\)$"):
        check(param, arg)


class Answer(int):
    """An int of its own kind, as an IntEnum is."""


def test_kinds_of_int_go_to_the_guest_as_plain_ints():
    """What is stored and sent is an int and nothing else."""
    assert type(check("i32", Answer(42))) is int
    assert type(check("i64", Answer(42))) is int


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_any_float_is_an_f64(arg):
    """Infinities, NaN and negative zero included, bit for bit."""
    assert struct.pack("<d", check("f64", arg)) == struct.pack("<d", arg)


@given(st.floats(allow_nan=True, width=32))
def test_any_single_is_an_f32(arg):
    """What fits single precision passes unchanged."""
    value = check("f32", arg)
    assert value == arg or (math.isnan(value) and math.isnan(arg))


@pytest.mark.parametrize(("param", "arg"), [("f32", 1e39), ("f32", -3.5e38), ("f64", 10**400), ("f32", 10**400)])
def test_numbers_too_large_for_a_float_are_refused(param, arg):
    """A finite number does not turn into an infinity on its way."""
    with pytest.raises(InvalidArguments, match=rf"is {param}: .* is outside its range$"):
        check(param, arg)


@pytest.mark.parametrize("arg", [True, "1.5", None, b"", 1j])
@pytest.mark.parametrize("param", ["f32", "f64"])
def test_only_numbers_are_floats(param, arg):
    """An int will do, a bool or a text will not."""
    assert check(param, 3) == 3.0
    with pytest.raises(InvalidArguments, match=rf"is {param}: wants a float or an int, got "):
        check(param, arg)


def test_a_vector_is_sixteen_bytes():
    """Bytes or a bytearray of just that length; the message tells the length that came."""
    assert check("v128", bytearray(range(16))) == bytes(range(16))
    with pytest.raises(InvalidArguments, match="is v128: wants 16 bytes, got 15 bytes"):
        check("v128", bytes(15))
    with pytest.raises(InvalidArguments, match=r"is v128: wants 16 bytes, got 7 \(int\)"):
        check("v128", 7)


def test_the_position_of_the_argument_is_named():
    """Counted from one, the first that does not fit."""
    with pytest.raises(InvalidArguments, match=r"^argument 3 of 'f' is f64: wants a float or an int, got 'x' \(str\)$"):
        admission.check_arguments("f", function("i32", "i64", "f64", "i32"), (1, 2, "x", "y"))


@pytest.mark.parametrize("args", [(), (1,), (1, 2, 3)])
def test_the_number_of_arguments_must_match(args):
    """The message shows the export's type and how many came."""
    with pytest.raises(InvalidArguments, match=rf"'f' \(func \(param i32 i32\)\) takes 2 arguments, got {len(args)}$"):
        admission.check_arguments("f", function("i32", "i32"), args)


def test_an_unknown_export_is_answered_with_the_ones_there_are():
    """The message names what the module has, in a form that cannot break a line."""
    module = module_of(Extern("add", function("i32")), Extern("evil\nname", function()))
    with pytest.raises(UnknownExport, match=r"no export 'sub'; the module's functions: add, evil\ufffdname"):
        admission.check_call(module, "sub", ())
    with pytest.raises(UnknownExport, match="functions: none"):
        admission.check_call(module_of(), "sub", ())


def test_only_functions_can_be_called():
    """A memory is not a function, whatever its name."""
    module = module_of(Extern("memory", MemoryType(1, None, False, False, 65_536)))
    with pytest.raises(UnknownExport, match=r"export 'memory' is not a function but \(memory 1\)"):
        admission.check_call(module, "memory", ())


def test_of_references_only_null_crosses_the_wall():
    """A parameter that may be null takes None and nothing else; one without a null makes its function uncallable."""
    module = module_of(
        Extern("take", function("externref", "i32")),
        Extern("give", function(results=("(ref 3)",))),
        Extern("never", function("(ref func)")),
        Extern("own", function("(ref null 3)")),
    )
    assert admission.check_call(module, "take", (None, 1)) == (None, 1)
    assert admission.check_call(module, "give", ()) == ()
    with pytest.raises(InvalidArguments, match="argument 1 of 'take' is externref: wants None"):
        admission.check_call(module, "take", ("something", 1))
    for export in ("never", "own"):
        with pytest.raises(UnknownExport, match=f"'{export}' .* of references only null can be passed"):
            admission.check_call(module, export, (None,))


def test_an_import_that_nobody_offers_is_named():
    """The first of them with its type, and how many more there are."""
    imports = (Import("env", "log", function("i32")), Import("env", "time", function()))
    module = module_of(Extern("f", function()), imports=imports)
    with pytest.raises(UnsatisfiedImport, match=r"offers the import env\.log \(func \(param i32\)\) \(and 1 more\)$"):
        admission.check_imports(module, (), HostFunctions(0), "default", ())


def test_no_limits_are_the_defaults():
    """What a job does not ask for comes from the configuration, all of it finite."""
    caps = Caps(1_000, 65_536, 1.0, 100, 16 * 2**20)
    assert admission.check_limits(None, LIMITS) == caps
    assert admission.check_limits(Limits(), LIMITS) == caps


def test_limits_are_taken_one_by_one():
    """Sizes may be text; up to the ceiling and including it everything is allowed."""
    asked = Limits(fuel=10_000, memory="1MiB", timeout=5, output="1kB")
    caps = admission.check_limits(asked, LIMITS)
    assert caps == Caps(10_000, 2**20, 5.0, 1_000, 16 * 2**20)
    assert type(caps.timeout) is float
    assert admission.check_limits(Limits(fuel=1), LIMITS) == Caps(1, 65_536, 1.0, 100, 16 * 2**20)


@pytest.mark.parametrize(
    "asked",
    [
        {"fuel": 0},
        {"fuel": -1},
        {"fuel": 1.5},
        {"fuel": True},
        {"fuel": "10"},
        {"memory": 0},
        {"memory": -65536},
        {"memory": "0KiB"},
        {"memory": "lots"},
        {"memory": 1.5},
        {"memory": True},
        {"timeout": 0},
        {"timeout": -0.5},
        {"timeout": math.nan},
        {"timeout": "1s"},
        {"timeout": True},
        {"output": 0},
        {"output": "0"},
        {"output": b"1"},
    ],
    ids=str,
)
def test_a_limit_that_is_none_is_refused_by_name(asked):
    """Zero, negative, not a number: there is no way to say "unlimited"."""
    (name,) = asked
    with pytest.raises(InvalidLimit, match=rf"^{name}: "):
        admission.check_limits(Limits(**asked), LIMITS)


@pytest.mark.parametrize(
    "asked", [{"fuel": 10_001}, {"memory": 2**20 + 1}, {"memory": "1GiB"}, {"timeout": math.inf}, {"output": 1_001}]
)
def test_a_limit_above_its_ceiling_is_refused(asked):
    """The message names the limit, the most there is, and the key that says so."""
    (name,) = asked
    with pytest.raises(LimitTooHigh, match=rf"^{name}: .* is above the maximum of .* \(limits\.max\.{name}\)$"):
        admission.check_limits(Limits(**asked), LIMITS)


def test_priorities_are_small_ints():
    """From -1000 to 1000."""
    assert [admission.check_priority(number) for number in (-1_000, 0, 1_000)] == [-1_000, 0, 1_000]
    for wrong in (1_001, -1_001, 1.0, True, "1", None):
        with pytest.raises(InvalidArguments, match=r"^priority: .*higher goes first"):
            admission.check_priority(wrong)


def test_delays_are_seconds_up_to_a_year():
    """Nothing negative, nothing that is no number."""
    assert admission.check_delay(0) == 0.0
    assert admission.check_delay(1.5) == 1.5
    for wrong in (-0.1, 366 * 86_400 + 1, math.nan, math.inf, "1", True, None):
        with pytest.raises(InvalidArguments, match=r"^delay: "):
            admission.check_delay(wrong)


@pytest.mark.parametrize("name", ["", "a\nb", "\0", "\u202e", "x" * 201, 5, None, b"a", "\ud800"])
def test_names_are_printable_and_short(name):
    """Names come out in logs, metrics and tables: nothing goes in that would spoil them."""
    assert admission.check_name("tenant", "Müller & Söhne") == "Müller & Söhne"
    with pytest.raises(InvalidArguments, match=r"^tenant: .* is not printable text of 1 to 200 characters$"):
        admission.check_name("tenant", name)
