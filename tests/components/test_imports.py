"""What a component imports is satisfied by name and type, or refused; odd and malformed components harm nothing."""

from __future__ import annotations

from typing import Any

import pytest

import wasmq
from wasmq import InvalidModule, UnknownExport, UnsatisfiedImport

CALLABLE = '(core module $m (func (export "f"))) (core instance $i (instantiate $m))'
EXPORT = '(func (export "f") (canon lift (core func $i "f")))'


def importing(imports: str) -> str:
    """Return a component with these imports and a function to call."""
    return f"(component {imports} {CALLABLE} {EXPORT})"


@pytest.mark.parametrize(
    ("imports", "words"),
    [
        ('(import "host" (func (param "a" u32) (result string)))', "nobody offers the import host func(a: u32) -> st"),
        (
            """(import "wasi:random/random@0.2.0" (instance
                 (export "get-random-bytes" (func (param "len" u32) (result (list u8))))))""",
            "#get-random-bytes has another type: it wants func(len: u32) -> list<u8>, there is func(u64) -> list<u8>",
        ),
        (
            '(import "wasi:random/random@0.3.0" (instance (export "get-random-u64" (func (result u64)))))',
            "nobody offers the import wasi:random/random@0.3.0#get-random-u64 func() -> u64",
        ),
        (
            '(import "wasi:random/random@0.2.0" (instance (export "get-dice" (func (result u64)))))',
            "nobody offers the import wasi:random/random@0.2.0#get-dice",
        ),
        (
            '(import "wasi:keyvalue/store@0.2.0" (instance (export "bucket" (type (sub resource)))))',
            "nobody offers the import wasi:keyvalue/store@0.2.0#bucket resource",
        ),
        ('(import "m" (core module))', "nobody offers the import m core module"),
        ('(import "a:b/c" (instance (export "x" (instance (export "y" (func))))))', "import a:b/c#x instance"),
    ],
)
async def test_an_import_that_nobody_offers_is_refused(open_scheduler: Any, imports: str, words: str) -> None:
    """The component is loaded, for it can be looked at; submitting names the import and what is wrong."""
    async with open_scheduler() as scheduler:
        module = await scheduler.load(importing(imports))
        with pytest.raises(UnsatisfiedImport) as refusal:
            await scheduler.submit(module, "f")
        assert words in str(refusal.value)


@pytest.mark.parametrize("version", ["0.2.0", "0.2.3", "0.2.99"])
async def test_any_patch_of_wasi_0_2_is_offered(open_scheduler: Any, version: str) -> None:
    """The version's last part does not matter."""
    wat = importing(f'(import "wasi:random/random@{version}" (instance (export "get-random-u64" (func (result u64)))))')
    async with open_scheduler() as scheduler:
        module = await scheduler.load(wat)
        assert module.missing == ()
        assert (await scheduler.run(module, "f")).value is None


RESOURCE = """(component (type $r (resource (rep i32))) (core func $new (canon resource.new $r))
 (export $e "r" (type $r))
 (core module $m (import "" "n" (func $n (param i32) (result i32)))
   (func (export "f") (result i32) (call $n (i32.const 1))))
 (core instance $i (instantiate $m (with "" (instance (export "n" (func $new))))))
 (func (export "make") (result (own $e)) (canon lift (core func $i "f"))))"""


async def test_exports_that_no_call_can_carry(open_scheduler: Any) -> None:
    """A resource cannot be passed; what is no function cannot be called."""
    async with open_scheduler() as scheduler:
        module = await scheduler.load(RESOURCE)
        with pytest.raises(UnknownExport, match=r"'make' cannot be called: resources \(r\) cannot be passed"):
            await scheduler.submit(module, "make")
        with pytest.raises(UnknownExport, match="'r' is not a function: resource r"):
            await scheduler.submit(module, "r")
        with pytest.raises(UnknownExport, match="no export 'x'; the component's functions: make"):
            await scheduler.submit(module, "x")
        with pytest.raises(UnknownExport, match="it is no WASI command"):
            await scheduler.submit(module)


INSTANCES = f"""(component {CALLABLE} (func $f (canon lift (core func $i "f")))
 (instance $a (export "f" (func $f)) (export "g" (func $f))) (instance $b (export "f" (func $f)))
 (export "ns:pkg/one@1.0.0" (instance $a)) (export "ns:pkg/two@1.0.0" (instance $b)))"""


async def test_functions_of_instances(open_scheduler: Any) -> None:
    """They are named `instance#function`, or by the function's name where only one has it."""
    async with open_scheduler() as scheduler:
        module = await scheduler.load(INSTANCES)
        assert sorted(each.name for each in module.exports) == [
            "ns:pkg/one@1.0.0#f",
            "ns:pkg/one@1.0.0#g",
            "ns:pkg/two@1.0.0#f",
        ]
        assert str(module.exports[0]).endswith(": func()")
        await scheduler.run(module, "ns:pkg/two@1.0.0#f")
        await scheduler.run(module, "g")
        with pytest.raises(UnknownExport, match=r"'f' is in several instances: ns:pkg/one@1\.0\.0#f, ns"):
            await scheduler.submit(module, "f")


def tower(levels: int, of: str) -> str:
    """Return a component that imports a function of a type made of types made of types."""
    types = "".join([f"(type $t{n} {of.format(f'$t{n - 1}')})" for n in range(1, levels)])
    return f'(component (type $t0 (list u8)) {types} (import "f" (func (param "a" $t{levels - 1}))))'


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"\0asm\x0d\0\x01\0\xff", "malformed section id"),
        (b"\0asm\x0d\0\x01\0\x07\x01", "unexpected end"),
        (b"\0asm\x0d\0\x01\0" + b"\x01\x04asdf", "magic header"),
        ("(component (func))", "line 1"),
        (tower(90, "(list {0})"), "nested deeper than 40"),
        (tower(1_000, "(list {0})"), "nesting is too deep"),
        (tower(9, "(tuple {0} {0} {0} {0} {0})"), "more than 100000 types and names"),
        (tower(30, "(tuple {0} {0} {0} {0} {0})"), "type size"),
        (
            '(component (import "x" (func (param "s" (stream u8)))))',
            "asynchronous components (WASI p3) are not offered",
        ),
        ('(component (import "c" (component)))', "component imports are not supported"),
        (
            f"(component (core module $m) {'(core instance (instantiate $m))' * 101})",
            "more than 100 core instances",
        ),
    ],
)
async def test_what_is_no_component_for_us_is_refused(open_scheduler: Any, source: Any, words: str) -> None:
    """Malformed, endless and asynchronous components are refused with one line, and the next one loads."""
    async with open_scheduler() as scheduler:
        with pytest.raises(InvalidModule) as refusal:
            await scheduler.load(source)
        assert words in str(refusal.value)
        assert "\n" not in str(refusal.value)
        assert (await scheduler.load("(component)")).kind == "component"


async def test_an_artifact_is_mapped_the_second_time(open_scheduler: Any, components: Any) -> None:
    """A component is compiled once; another scheduler maps what the first one kept."""
    async with open_scheduler() as scheduler:
        first = await scheduler.load(components / "hello.wasm")
        kept = first.artifact.stat()
    async with open_scheduler() as scheduler:
        again = await scheduler.load(components / "hello.wasm")
        assert (again.digest, again.artifact.stat().st_ino) == (first.digest, kept.st_ino)
        assert isinstance(again, wasmq.Module)
        assert [str(each) for each in again.imports] == [str(each) for each in first.imports]
