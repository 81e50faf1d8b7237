"""The specification's test-suite: run whole where the registries bring it, and its harness on a small file of ours."""

from __future__ import annotations

import json
import sys

import pytest
import spec
import spec_files
from watching import running

ENGINES = ["native", "interpreter"]
# What the suite of 2022 has otherwise than the specification of today.
SUPERSEDED = {
    ("binary-leb128", 404): "the flags of a memory's limits are a number now",
    ("binary-leb128", 461): "the flags of a memory's limits are a number now",
    ("unreached-invalid", 539): "labels of a br_table may differ where nothing is on the stack",
    ("address64", 207): "a memory's offset has 64 bits now",
}


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory):
    """The suite's files as JSON, and the names of those that cannot be read any more."""
    directory = tmp_path_factory.mktemp("spec")
    try:
        program = spec_files.tool(directory / "tools")
        files = spec_files.suite(directory)
    except spec_files.Unavailable as reason:
        pytest.skip(str(reason))
    made = {path.stem: spec_files.convert(program, path, directory / "json") for path in files}
    return [path for path in made.values() if path], [name for name, path in made.items() if path is None]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
async def test_the_specifications_test_suite(make_scheduler, suite, engine, record_property, capsys):
    """No assertion fails. Those that lean on state which no job can have are counted, and so is what is not offered."""
    files, unread = suite
    async with make_scheduler(engine=engine) as scheduler:
        results = await spec.run(files, scheduler)
    counts = spec.counts(results)
    record_property("counts", dict(counts))
    with capsys.disabled():
        report = f"{dict(counts)} in {len(files)} files; not in today's syntax: {', '.join(unread) or 'none'}"
        sys.stdout.write(f"\n{engine}: {report}\n")
    failed = [
        (name, result)
        for name, each in results.items()
        for result in each
        if result.verdict == "failed" and (name, result.line) not in SUPERSEDED
    ]
    assert not failed
    assert counts["passed"] + counts["repeated"] > 10_000
    assert counts["stateful"] < counts["repeated"]


def invoke(field, *args, module=None):
    """A call, as the suite's JSON has it."""
    made = {"type": "invoke", "field": field, "args": [{"type": "i32", "value": str(arg)} for arg in args]}
    return made if module is None else {**made, "module": module}


def i32(value):
    """An i32, as the suite's JSON has it."""
    return {"type": "i32", "value": str(value)}


@pytest.fixture
def write(tmp_path):
    """Write a file of the suite: its commands, and its modules' text by name."""

    def written(commands, **modules):
        for name, text in modules.items():
            (tmp_path / name).write_text(text)
        path = tmp_path / "ours.json"
        path.write_text(json.dumps({"commands": [{"line": at, **each} for at, each in enumerate(commands, 1)]}))
        return path

    return written


COUNTER = """(module (import "spectest" "print_i32" (func $print (param i32))) (global $n (mut i32) (i32.const 0))
  (func (export "next") (result i32) (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n))
  (func (export "fall") (param i32) (result i32) (global.set $n (local.get 0)) (unreachable)))"""


async def test_the_harness_tells_apart_what_it_finds(make_scheduler, write):
    """Holds at once, holds when repeated, cannot be repeated, does not hold: each gets its own verdict."""
    path = write(
        [
            {"type": "module", "filename": "counter", "name": "C"},
            {"type": "assert_return", "action": invoke("next"), "expected": [i32(1)]},
            {"type": "assert_return", "action": invoke("next"), "expected": [i32(2)]},
            {"type": "assert_return", "action": invoke("next"), "expected": [i32(7)]},
            {"type": "register", "name": "C", "as": "C"},
            {"type": "module", "filename": "user"},
            {"type": "assert_return", "action": invoke("f"), "expected": [i32(4)]},
            {"type": "assert_trap", "action": invoke("fall", 40, module="C"), "text": "unreachable"},
            {"type": "assert_return", "action": invoke("next", module="C"), "expected": [i32(41)]},
            {"type": "assert_trap", "action": invoke("next", module="C"), "text": "unreachable"},
            {"type": "assert_unlinkable", "filename": "stranger", "text": "unknown import"},
            {"type": "assert_unlinkable", "filename": "user", "text": "unknown import"},
            {"type": "assert_invalid", "filename": "wrong", "text": "type mismatch"},
            {"type": "assert_invalid", "filename": "user", "text": "type mismatch"},
            {"type": "assert_uninstantiable", "filename": "trapping", "text": "unreachable"},
        ],
        counter=COUNTER,
        user='(module (import "C" "next" (func $next (result i32))) (func (export "f") (result i32) (call $next)))',
        stranger='(module (import "C" "nothing" (func)))',
        wrong="(module (func (result i32)))",
        trapping="(module (func $f unreachable) (start $f))",
    )
    async with running(make_scheduler) as scheduler:
        results = (await spec.run([path], scheduler))["ours"]
    assert [(result.line, result.verdict) for result in sorted(results, key=lambda result: result.line)] == [
        (1, "passed"),
        (2, "passed"),
        (3, "repeated"),
        (4, "failed"),
        (6, "passed"),
        (7, "repeated"),
        (8, "passed"),
        (9, "stateful"),
        (10, "stateful"),
        (11, "passed"),
        (12, "failed"),
        (13, "passed"),
        (14, "failed"),
        (15, "passed"),
    ]
