"""What a host function takes and gives: read from its annotations, or refused in one line that says what would do."""

import functools
import math
from typing import Annotated, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wasmq
from wasmq.signatures import KINDS, signature_of

ANNOTATIONS = {
    "i32": wasmq.i32,
    "i64": wasmq.i64,
    "f32": wasmq.f32,
    "f64": wasmq.f64,
    "bytes": bytes,
    "str": str,
}
PLAIN = {int: "i32", float: "f64", bytes: "bytes", str: "str"}


def annotated(params, result, *, caller=False, coroutine=False):
    """A function with these annotations."""
    names = [f"p{number}" for number in range(len(params) + caller)]
    source = f"{'async ' * coroutine}def function({', '.join(names)}): pass"
    space = {}
    exec(source, space)
    function = space["function"]
    kinds = ([wasmq.HostCall] if caller else []) + list(params)
    function.__annotations__ = {**dict(zip(names, kinds, strict=True)), "return": result}
    return function


def read(function, params=None, results=None):
    return signature_of(function, "env.f", params, results)


@given(
    params=st.lists(st.sampled_from(KINDS), max_size=6),
    result=st.none() | st.sampled_from(KINDS) | st.lists(st.sampled_from(KINDS[:4]), min_size=2, max_size=4),
    caller=st.booleans(),
    coroutine=st.booleans(),
)
def test_annotations_say_the_signature(params, result, caller, coroutine):
    """Every kind in every place, one result, several as a tuple, or none, of plain functions and coroutines."""
    if isinstance(result, list):
        returns, results = tuple[tuple(ANNOTATIONS[kind] for kind in result)], tuple(result)
    else:
        returns, results = (None, ()) if result is None else (ANNOTATIONS[result], (result,))
    function = annotated([ANNOTATIONS[kind] for kind in params], returns, caller=caller, coroutine=coroutine)
    assert read(function) == (tuple(params), results, caller)
    said = annotated([object] * len(params), object, caller=caller)
    assert read(said, params, results) == (tuple(params), results, caller)


@pytest.mark.parametrize(("annotation", "kind"), PLAIN.items())
def test_plain_types_have_the_kind_that_c_gives_them(annotation, kind):
    """An int is an i32, a float an f64; further notes on an annotation do not matter."""
    assert read(annotated([annotation], annotation)) == ((kind,), (kind,), False)
    assert read(annotated([Annotated[annotation, "a note"]], annotation)) == ((kind,), (kind,), False)


def test_annotations_that_are_text_are_read_in_their_module():
    """As with `from __future__ import annotations`."""
    assert read(annotated(["float", "bytes"], "None")) == (("f64", "bytes"), (), False)


class Bound:
    """Callables of every sort."""

    def method(self, key: str) -> bytes:
        raise NotImplementedError

    @classmethod
    def of_class(cls, key: str) -> bytes:
        raise NotImplementedError

    def __call__(self, key: str) -> bytes:
        raise NotImplementedError


@pytest.mark.parametrize(
    "function",
    [
        Bound().method,
        Bound.of_class,
        Bound(),
        functools.partial(Bound.method, Bound()),
        lambda *keys: keys,
        lambda key, other=1, *, more=2: key,
    ],
    ids=["method", "class", "object", "partial", "varargs", "defaults"],
)
def test_whatever_can_be_called_so_will_do(function):
    """`self` and what has been filled in do not count; keywords with a default are left alone."""
    said = (("str",), ("bytes",)) if getattr(function, "__name__", "") == "<lambda>" else (None, None)
    assert read(function, *said) == (("str",), ("bytes",), False)


def test_what_has_no_signature_must_say_it():
    """Some built-in functions do not tell theirs."""
    assert read(math.hypot, ("f64", "f64"), ("f64",)) == (("f64", "f64"), ("f64",), False)
    with pytest.raises(
        TypeError, match=r"^host function env\.f:? (has no signature to be read; say|parameter '.*; use)"
    ):
        read(math.hypot)


def keyword_only(a: int, *, b: int) -> int:
    raise NotImplementedError


def late_caller(a: int, b: wasmq.HostCall) -> int:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("function", "params", "results", "message"),
    [
        (7, None, None, "7 cannot be called"),
        (annotated([bool], None), None, None, "parameter 'p0' is annotated bool; use wasmq.i32, i64"),
        (annotated([int], bool), None, None, "the result is annotated bool; use"),
        (annotated([list[int]], None), None, None, r"parameter 'p0' is annotated list\[int\]; use"),
        (annotated([Optional[int]], None), None, None, "parameter 'p0' is annotated typing.Optional"),  # noqa: UP045
        (annotated([int], tuple[int, ...]), None, None, "the result is annotated tuple"),
        (annotated([int], tuple[int, str]), None, None, "bytes or str can only be the one result"),
        (annotated(["nothing.of.the.sort"], None), None, None, "its annotations cannot be read: name 'nothing'"),
        (lambda a: a, None, None, "parameter 'a' has no annotation; use"),
        (annotated([], "int.nothing"), None, None, "its annotations cannot be read: "),
        (late_caller, None, None, "HostCall can only be the first parameter, not 'b'"),
        (keyword_only, ("i32",), ("i32",), "arguments come by position, 'b' takes none"),
        (lambda a: a, ("i32", "i32"), (), "2 arguments are to come, it takes 1"),
        (lambda a, b: a, ("i32",), (), "1 arguments are to come, it takes 2"),
        (lambda a: a, ("i33",), (), r"params= has 'i33'; there are i32, i64"),
        (lambda a: a, "i32", (), r"params= wants a sequence such as \('i32',\)"),
        (lambda a: a, ("i32",), ("bytes", "i32"), "bytes or str can only be the one result"),
    ],
)
def test_what_has_no_meaning_is_refused_in_one_line(function, params, results, message):
    """The line names the function, the place, what is there, and what would do."""
    with pytest.raises(TypeError, match=rf"^host function env\.f:? {message}") as caught:
        read(function, params, results)
    assert "\n" not in str(caught.value)


def test_a_result_must_be_said():
    """A function without a result says `-> None`: forgetting the annotation is not the same."""

    def forgetful(a: int):
        raise NotImplementedError

    with pytest.raises(TypeError, match=r"the result has no annotation; .* or None for no result$"):
        read(forgetful)
