"""What is offered, at what price and to whom; what goes to a function and what may come back from it."""

import math
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmq import admission
from wasmq.config import HostConfig, HostFunctionConfig
from wasmq.errors import ConfigError, InvalidArguments, UnsatisfiedImport
from wasmq.host import HostFunctions, offer_configured, one_line
from wasmq.modules import Module
from wasmq.types import FunctionType, Import, MemoryType
from wasmq_worker.protocol import ProtocolError


def module_of(*imports):
    """A module with these imports."""
    return Module(
        digest="d" * 64,
        kind="module",
        exports=(),
        imports=imports,
        offers=(None,) * len(imports),
        size=1,
        artifact=Path("/nowhere"),
        counted=False,
        start=False,
        memory=0,
        exported_memory=-1,
    )


def offered(params=(), results=(), **options):
    """One function that is offered as env.f."""
    functions = HostFunctions(10)
    functions.offer("env", "f", params=params, results=results, **options)(lambda *arguments: arguments)
    return functions


WANTED = Import("env", "f", FunctionType(("i32",), ("i64",)))


# Grants.


@pytest.mark.parametrize("tenants", [(), "*", ("*",), "acme", ["acme", "other"]])
@pytest.mark.parametrize("tenant", ["acme", "default"])
@pytest.mark.parametrize("granted", [(), ("env.f",), ("env.g", "f", "env", "*")])
def test_only_who_was_granted_a_function_may_import_it(tenants, tenant, granted):
    """By the function's own list, or by the tenant's or the job's grant; by nothing else."""
    functions = offered(("i32",), ("i64",), tenants=tenants)
    allowed = "*" in tenants or tenant in tenants or tenants == tenant or "env.f" in granted
    if allowed:
        admission.check_imports(module_of(WANTED), (), functions, tenant, granted)
        return
    with pytest.raises(UnsatisfiedImport) as caught:
        admission.check_imports(module_of(WANTED), (), functions, tenant, granted)
    assert str(caught.value) == (
        f"module dddddddddddd: the import env.f is not granted to tenant '{tenant}': offer the host function with "
        'tenants=, give the tenant grant = ["env.f"], or submit the job with grant='
    )


@pytest.mark.parametrize(
    "type_",
    [
        FunctionType(("i32",), ("i32",)),
        FunctionType(("i64",), ("i64",)),
        FunctionType((), ("i64",)),
        FunctionType(("i32", "i32"), ("i64",)),
        MemoryType(1, None, False, False, 65_536),
    ],
    ids=str,
)
def test_another_type_is_refused_with_both(type_):
    """Whatever was granted: what is wanted and what is there are shown."""
    with pytest.raises(UnsatisfiedImport) as caught:
        admission.check_imports(
            module_of(Import("env", "f", type_)), (), offered(("i32",), ("i64",), tenants="*"), "default", ("env.f",)
        )
    assert str(caught.value).endswith(
        f"the import env.f has another type: it wants {type_}, there is (func (param i32) (result i64))"
    )


def test_the_first_import_that_is_not_met_is_named():
    """With how many more there are; those that are met do not count."""
    imports = (WANTED, Import("env", "g", FunctionType((), ())), Import("a\nb", "h", FunctionType((), ())))
    with pytest.raises(UnsatisfiedImport, match=r"nobody offers the import env\.g \(func\) \(and 1 more\)$"):
        admission.check_imports(module_of(*imports), (), offered(("i32",), ("i64",), tenants="*"), "default", ())


def test_names_that_read_alike_are_not_the_same():
    """A function is found by both of its names, wherever a dot stands in them."""
    functions = HostFunctions(0)
    functions.offer("a.b", "c", tenants="*", params=(), results=())(print)
    admission.check_imports(module_of(Import("a.b", "c", FunctionType((), ()))), (), functions, "default", ())
    with pytest.raises(UnsatisfiedImport, match="nobody offers"):
        admission.check_imports(module_of(Import("a", "b.c", FunctionType((), ()))), (), functions, "default", ())
    with pytest.raises(ValueError, match=r"a\.b\.c is offered already"):
        functions.offer("a", "b.c")


@pytest.mark.parametrize("grant", [[1], [""], ["a\nb"], ["x" * 402]])
def test_a_grant_is_a_name(grant):
    """Anything else is refused before it is queued."""
    with pytest.raises(InvalidArguments, match=r"^grant: "):
        admission.check_grant(grant)


# Offering.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"price": -1}, "price=-1 is not a whole number from 0"),
        ({"price": 1.5}, "price=1.5 is not"),
        ({"price": True}, "price=True is not"),
        ({"max_calls": 0}, "max_calls=0 is not a whole number from 1"),
        ({"tenants": [1]}, "tenants= wants names"),
        ({"tenants": [""]}, "tenants= wants names"),
    ],
)
def test_options_without_a_meaning_are_refused(options, message):
    """Where the function is offered, in one line that names it."""
    with pytest.raises(TypeError, match=rf"^host function env\.f: {message}"):
        HostFunctions(0).offer("env", "f", **options)


@pytest.mark.parametrize(("module", "name"), [("", "f"), ("env", ""), ("env", "a\nb"), ("x" * 201, "f"), (1, "f")])
def test_names_are_printable_text(module, name):
    """And not too long."""
    with pytest.raises(TypeError, match="names are printable text"):
        HostFunctions(0).offer(module, name)


def test_wasi_is_not_for_others():
    """Whoever offers under its name would only seem to."""
    with pytest.raises(ValueError, match="is WASI's own"):
        HostFunctions(0).offer("wasi_snapshot_preview1", "fd_write")


def test_a_name_is_offered_once():
    """Also when two decorators were made before either was used."""
    functions = HostFunctions(0)
    first, second = functions.offer("env", "f", params=(), results=()), functions.offer("env", "f")
    assert first(print) is print
    with pytest.raises(ValueError, match="offered already"):
        second(print)


def test_a_coroutine_is_not_inline():
    """It need not be: it never blocks the loop."""

    async def f() -> None:
        raise NotImplementedError

    with pytest.raises(TypeError, match="inline= is for plain functions"):
        HostFunctions(0).offer("env", "f", inline=True)(f)


def test_prices_are_the_default_or_their_own():
    """And so is the number of calls, which has an end in any case."""
    functions = HostFunctions(10)
    functions.offer("env", "f", params=(), results=())(print)
    functions.offer("env", "g", params=(), results=(), price=0, max_calls=3)(print)
    assert (functions._by_name["env.f"].known.price, functions._by_name["env.f"].known.max_calls) == (10, 2**31 - 1)
    assert (functions._by_name["env.g"].known.price, functions._by_name["env.g"].known.max_calls) == (0, 3)


def test_a_module_is_supplied_with_what_it_imports():
    """Each function once, in the order of the imports; also those that are offered after it was asked for."""
    functions = HostFunctions(0)
    module = module_of(WANTED, WANTED, Import("env", "g", FunctionType((), ())))
    assert functions.supply(module) == ()
    functions.offer("env", "h", params=(), results=())(print)
    functions.offer("env", "g", params=(), results=())(print)
    functions.offer("env", "f", params=("i32",), results=("i64",))(print)
    assert [function.name for function in functions.supply(module)] == ["env.f", "env.g"]
    assert functions.imported(functions._by_name["env.g"].known.function, [module]).name == "env.g"
    for number in (functions._by_name["env.h"].known.function, -1, 3, 2**63):
        with pytest.raises(ProtocolError, match=f"host function {number}, which the job does not import"):
            functions.imported(number, [module])
    number = functions._by_name["env.g"].known.function
    for modules, linked in (([], ()), ([module], ["env"])):
        with pytest.raises(ProtocolError, match=f"host function {number}, which the job does not import"):
            functions.imported(number, modules, linked)


# Arguments.

VALUES = {
    "i32": st.integers(-(2**31), 2**31 - 1),
    "i64": st.integers(-(2**63), 2**63 - 1),
    "f32": st.floats(width=32),
    "f64": st.floats(),
    "bytes": st.binary(max_size=20),
    "str": st.text(max_size=20),
}


def alike(left, right):
    """Whether two values are the same, NaN included."""
    return left == right or (isinstance(left, float) and math.isnan(left) and math.isnan(right))


@given(data=st.data(), kinds=st.lists(st.sampled_from(list(VALUES)), max_size=5), room=st.none() | st.integers(0, 99))
def test_arguments_come_as_the_function_takes_them(data, kinds, room):
    """Text decoded, everything else as it is, and the room for bytes apart."""
    function = offered(kinds, () if room is None else ("bytes",))._by_name["env.f"]
    wanted = [data.draw(VALUES[kind]) for kind in kinds]
    sent = [value.encode() if isinstance(value, str) else value for value in wanted]
    arguments, found = function.arguments((*sent, *(() if room is None else (room,))))
    assert all(map(alike, arguments, wanted))
    assert (len(arguments), found) == (len(wanted), room or 0)


@given(data=st.data(), kind=st.sampled_from(list(VALUES)))
def test_what_no_honest_worker_sends_breaks_the_protocol(data, kind):
    """Values of another type or out of range, too few, too many."""
    function = offered((kind,))._by_name["env.f"]
    right = data.draw(VALUES[kind])
    right = right.encode() if isinstance(right, str) else right
    wrong = {
        "i32": (2**31, -(2**31) - 1, 1.0, b""),
        "i64": (2**63, 2**64 - 1, 1.0, b""),
        "f32": (1, b""),
        "f64": (1, b""),
    }.get(kind, (1, 1.0))
    for sent in ((), (right, right), *((value,) for value in wrong)):
        with pytest.raises(ProtocolError, match=r"the arguments of env\.f are not"):
            function.arguments(sent)


@pytest.mark.parametrize("room", [(), (-1,), (2**32,), (1.0,), (b"1",)])
def test_room_is_a_number_of_bytes(room):
    """Whatever else comes in its place is nothing that a worker sends."""
    with pytest.raises(ProtocolError, match="room of"):
        offered((), ("bytes",))._by_name["env.f"].arguments(room)


def test_text_must_be_utf_8():
    """The guest is to blame, not the worker."""
    with pytest.raises(ValueError, match="argument 2 is not UTF-8: invalid start byte"):
        offered(("i32", "str"))._by_name["env.f"].arguments((1, b"\xff"))


# Results.


@given(data=st.data(), kinds=st.lists(st.sampled_from(list(VALUES)[:4]), max_size=4))
def test_results_go_back_as_they_are(data, kinds):
    """None without any, one alone, several as a tuple; an f32 may be any float that fits."""
    function = offered((), kinds)._by_name["env.f"]
    values = tuple(data.draw(VALUES[kind]) for kind in kinds)
    returned = {0: None, 1: values[0] if values else None}.get(len(values), values)
    results, data_ = function.results(returned, 0, 100)
    assert all(map(alike, results, values))
    assert (len(results), data_) == (len(values), None)


@given(answer=st.binary(max_size=40) | st.text(max_size=20), room=st.integers(0, 50))
def test_bytes_are_cut_to_the_room_there_is(answer, room):
    """And the length is that of the whole answer, so that the guest can call again with more room."""
    kind, whole = ("str", answer.encode()) if isinstance(answer, str) else ("bytes", answer)
    assert offered((), (kind,))._by_name["env.f"].results(answer, room, 100) == ((len(whole),), whole[:room])


class Unshowable:
    """Something whose own text cannot be had."""

    def __repr__(self):
        raise RuntimeError

    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    ("kinds", "returned", "message"),
    [
        (("i32",), "x", r"returned 'x' \(str\), wants i32"),
        (("i32",), 2**32, r"returned 4294967296 \(int\), wants i32"),
        (("i32",), True, r"returned True \(bool\), wants i32"),
        (("i32",), None, r"returned None \(NoneType\), wants i32"),
        (("i32",), Unshowable(), r"returned a Unshowable, wants i32"),
        pytest.param(("i64",), 10**5_000, "returned a int, wants i64", id="huge"),
        (("f32",), 1e39, r"returned 1e\+39 \(float\), wants f32"),
        ((), 1, r"returned 1 \(int\), wants None"),
        (("i32", "i64"), 1, r"returned 1 \(int\), wants a tuple of 2"),
        (("i32", "i64"), (1,), r"returned \(1,\) \(tuple\), wants a tuple of 2"),
        (("i32", "i64"), (1, "x"), r"returned \(1, 'x'\) \(tuple\), wants i32, i64"),
        (("bytes",), "x", r"returned 'x' \(str\), wants bytes"),
        (("str",), b"x", r"returned b'x' \(bytes\), wants str"),
        (("str",), "\ud800", r"returned '\\ud800' \(str\), which UTF-8 cannot carry"),
        (("bytes",), bytes(101), r"returned 101 bytes, the limit is 100 \(host\.max_bytes\)"),
        (("i32",), "a\n" * 500, r"returned 'a\\na"),
    ],
)
def test_a_result_that_does_not_fit_is_shown_with_what_was_wanted(kinds, returned, message):
    """In one short line."""
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        offered((), kinds)._by_name["env.f"].results(returned, 10, 100)
    assert len(str(caught.value)) < 150
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (KeyError("x"), "KeyError: 'x'"),
        (ValueError(), "ValueError"),
        (ValueError("two\nlines"), "ValueError: two lines"),
        (ValueError(Unshowable()), "ValueError: (its text cannot be had)"),
    ],
)
def test_an_exception_is_one_line(error, line):
    """Whatever its text is."""
    assert one_line(error) == line


def test_an_exception_of_many_words_is_cut():
    """The job's error stays something that a person can read."""
    assert len(one_line(ValueError("word " * 10_000))) == 300


# Import paths.


@pytest.mark.parametrize(
    "entry",
    [
        "test_host_paths:Lookups.lookup",
        HostFunctionConfig(path="test_host_paths:Lookups.lookup"),
    ],
)
def test_functions_are_found_by_their_import_path(tmp_path, monkeypatch, entry):
    """A function, or something inside of a class."""
    write(tmp_path, monkeypatch)
    functions = HostFunctions(10)
    offer_configured(functions, HostConfig(functions={"env.lookup": entry}))
    assert functions._by_name["env.lookup"].type == FunctionType(("i32", "i32"), ("i32",))
    assert functions._by_name["env.lookup"].tenants == frozenset()


def test_an_entry_can_say_everything(tmp_path, monkeypatch):
    """As the decorator can; the module's name may have dots."""
    write(tmp_path, monkeypatch)
    entry = HostFunctionConfig(
        path="test_host_paths:bare",
        price=7,
        max_calls=2,
        tenants=("acme",),
        inline=True,
        params=("i64",),
        results=("bytes",),
    )
    functions = HostFunctions(10)
    offer_configured(functions, HostConfig(functions={"my.env.bare": entry}))
    found = functions._by_name["my.env.bare"]
    assert (found.known.module, found.known.name) == ("my.env", "bare")
    assert (found.known.price, found.known.max_calls, found.tenants, found.inline) == (7, 2, {"acme"}, True)
    assert (found.known.params, found.known.results) == (("i64",), ("bytes",))


@pytest.mark.parametrize(
    ("name", "path", "message"),
    [
        ("lookup", "test_host_paths:bare", r"not MODULE\.NAME, as guests import it"),
        ("env.lookup", "test_host_paths", "'test_host_paths' is not an import path such as package.module:function"),
        ("env.lookup", ":bare", "is not an import path"),
        ("env.lookup", "test_host_nowhere:f", "test_host_nowhere:f: there is no such module: ModuleNotFoundError"),
        ("env.lookup", "test_host_broken:f", "test_host_broken:f: it cannot be imported: ZeroDivisionError: division"),
        ("env.lookup", "test_host_paths:missing", "test_host_paths:missing: test_host_paths has no missing"),
        ("env.lookup", "test_host_paths:Lookups.no", "has no Lookups.no"),
        ("env.lookup", "test_host_paths:number", "host function env.lookup: 7 cannot be called"),
        ("env.lookup", "test_host_paths:bare", "host function env.lookup: parameter 'a' has no annotation"),
        (".lookup", "test_host_paths:bare", "names are printable text"),
    ],
)
def test_a_path_that_leads_nowhere_is_one_line(tmp_path, monkeypatch, name, path, message):
    """It names the key, the path and what is wrong."""
    write(tmp_path, monkeypatch)
    with pytest.raises(ConfigError, match=rf'^host\.functions\."{name}": .*{message}') as caught:
        offer_configured(HostFunctions(10), HostConfig(functions={name: path}))
    assert "\n" not in str(caught.value)


def write(directory, monkeypatch):
    """Make modules that can be imported for the length of a test."""
    (directory / "test_host_broken.py").write_text("1 / 0")
    (directory / "test_host_paths.py").write_text(
        "number = 7\ndef bare(a): ...\nclass Lookups:\n    @staticmethod\n    def lookup(key: str) -> int: ...\n"
    )
    monkeypatch.syspath_prepend(str(directory))
    for name in ("test_host_paths", "test_host_broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_an_f32_is_what_the_guest_will_see():
    """A float that no f32 is stays what was returned: it is rounded where it is written."""
    ((value,), _) = offered((), ("f32",))._by_name["env.f"].results(0.1, 0, 0)
    assert struct.pack("<f", value) == struct.pack("<f", 0.1)
