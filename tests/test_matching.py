"""Import matching: what may stand in for what."""

import pytest

from wasmq.matching import fits
from wasmq.types import FunctionType, GlobalType, MemoryType, TableType, TagType

PAGE = 65_536


def memory(minimum, maximum=None, *, memory64=False, shared=False, page=PAGE):
    """A memory's type."""
    return MemoryType(minimum, maximum, memory64, shared, page)


def table(minimum, maximum=None, element="funcref", *, table64=False):
    """A table's type."""
    return TableType(element, minimum, maximum, table64)


def func(*params, results=()):
    """A function's type."""
    return FunctionType(params, results)


@pytest.mark.parametrize(
    ("offered", "wanted", "answer"),
    [
        (func("i32"), func("i32"), True),
        (func("i32"), func("i64"), False),
        (func("i32"), func("i32", "i32"), False),
        (func(results=("i32",)), func(), False),
        (func("funcref"), func("externref"), False),
        (func("(ref 1)"), func("(ref 7)"), True),
        (func("(ref 1)"), func("i32"), False),
        (func("(ref 1)"), func("funcref"), True),
        (memory(2), memory(1), True),
        (memory(1), memory(2), False),
        (memory(1, 3), memory(1, 4), True),
        (memory(1, 5), memory(1, 4), False),
        (memory(1), memory(1, 4), False),
        (memory(1, 3), memory(1), True),
        (memory(1), memory(1, memory64=True), False),
        (memory(1, 1, shared=True), memory(1, 1), False),
        (memory(1), memory(1, page=1), False),
        (table(10, 20), table(10, 20), True),
        (table(10, 20), table(11), False),
        (table(10), table(10, 20), False),
        (table(10), table(10, element="externref"), False),
        (table(10), table(10, table64=True), False),
        (GlobalType("i32", False), GlobalType("i32", False), True),
        (GlobalType("i32", True), GlobalType("i32", False), False),
        (GlobalType("i32", False), GlobalType("i32", True), False),
        (GlobalType("i32", False), GlobalType("i64", False), False),
        (GlobalType("funcref", False), GlobalType("i32", False), False),
        (GlobalType("nullfuncref", False), GlobalType("funcref", False), True),
        (GlobalType("nullfuncref", True), GlobalType("funcref", True), False),
        (TagType(("i32",)), TagType(("i32",)), True),
        (TagType(("i32",)), TagType(()), False),
        (func(), memory(1), False),
        (memory(1), table(1), False),
    ],
)
def test_matching(offered, wanted, answer):
    """As the specification has it; types of a module's own, and references, are for the engine to refuse."""
    assert fits(offered, wanted) is answer


def test_what_code_may_have_grown_is_measured_by_its_maximum():
    """A start function may have grown a memory before it is imported: then only what it can never reach is refused."""
    assert fits(memory(1), memory(5), grown=True)
    assert fits(memory(1, 5), memory(5), grown=True)
    assert not fits(memory(1, 4), memory(5), grown=True)
    assert fits(table(1, 5), table(5, 5), grown=True)
    assert not fits(memory(1), memory(5, 5), grown=True)
