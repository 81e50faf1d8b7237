"""Components over HTTP and on the command line: their types in words, their values as JSON."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from wasmq.server.app import build_app

ROOT = Path(__file__).parents[2]
PADDING = list(range(17))
# What goes in as JSON, and what comes back as JSON if that is something else.
JSON: list[tuple[str, Any, Any]] = [
    ("bool", True, True),
    ("u64", "18446744073709551615", 2**64 - 1),
    ("s8", -5, -5),
    ("f64", "NaN", "NaN"),
    ("f32", "-Infinity", "-Infinity"),
    ("char", "é", "é"),
    ("bytes", "AP8=", "AP8="),
    ("bytes", [0, 255], "AP8="),
    ("numbers", [1, "2"], [1, 2]),
    ("record", {"street": "s", "zip": "7", "is_home": False}, {"street": "s", "zip": 7, "is-home": False}),
    ("enum", "dark-green", "dark-green"),
    ("flags", ["write", "read"], ["read", "write"]),
    ("variant", "point", "point"),
    ("variant", {"point": None}, "point"),
    ("variant", {"box": [1, 2.5]}, {"box": [1.0, 2.5]}),
    ("option", None, None),
    ("option", "x", "x"),
    ("options", {"some": None}, {"some": None}),
    ("options", {"some": 3}, {"some": {"some": 3}}),
    ("result", {"ok": "x"}, {"ok": "x"}),
    ("result", {"err": {"of-colour": "red"}}, {"err": {"of-colour": "red"}}),
    ("status", "err", {"err": None}),
    ("tuple", [1, "x", "red"], [1, "x", "red"]),
]


async def test_values_as_json(open_scheduler: Any, components: Any) -> None:
    """Each kind of value has its form in JSON, the same in both directions."""
    async with open_scheduler() as scheduler:
        app = httpx.ASGITransport(app=build_app(scheduler))
        async with httpx.AsyncClient(transport=app, base_url="http://localhost") as client:
            source = (components / "values.wat").read_bytes()
            module = (await client.put("/v1/modules", content=source)).json()
            assert module["kind"] == "component"
            assert module["exports"][0] == {
                "name": "address",
                "type": {"kind": "item", "wit": "record { street: string, zip: u32, is-home: bool }"},
            }
            function = next(each["type"] for each in module["exports"] if each["name"] == "record")
            assert function["kind"] == "component-function"
            assert function["params"][0]["type"].startswith("tuple<address, tuple<u64")
            wanted = [
                {"module": module["digest"], "export": export, "args": [[given, PADDING]]} for export, given, _ in JSON
            ]
            # An option's inner value is wrapped only where None could mean two things.
            jobs = (await client.post("/v1/jobs", json=wanted)).json()
            for job, (export, given, back) in zip(jobs, JSON, strict=True):
                outcome = (await client.get(f"/v1/jobs/{job['id']}?wait=30")).json()["outcome"]
                assert outcome["status"] == "succeeded", (export, given, outcome)
                assert outcome["value"][0] == (back if (export, given) != ("options", {"some": 3}) else {"some": 3})
                assert outcome["values"] == [outcome["value"]]


async def test_a_wrong_value_is_a_problem(open_scheduler: Any, components: Any) -> None:
    """A value that does not fit is refused with the place in it."""
    async with open_scheduler() as scheduler:
        app = httpx.ASGITransport(app=build_app(scheduler))
        async with httpx.AsyncClient(transport=app, base_url="http://localhost") as client:
            source = (components / "values.wat").read_bytes()
            digest = (await client.put("/v1/modules", content=source)).json()["digest"]
            body = {"module": digest, "export": "record", "args": [[{"street": "s", "zip": "x"}, PADDING]]}
            answer = await client.post("/v1/jobs", json=body)
            assert answer.status_code in (400, 422)
            assert "address wants the field 'is-home', which is missing" in answer.json()["detail"]


WAT = """(component
 (core module $m (memory (export "m") 1)
   (func (export "r") (param i32 i32 i32 i32) (result i32) (i32.const 64))
   (func (export "shout") (param i32 i32) (result i32)
     (i32.store (i32.const 8) (local.get 0)) (i32.store (i32.const 12) (local.get 1)) (i32.const 8))
   (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))
 (core instance $i (instantiate $m))
 (func (export "same") (param "text" string) (result string)
   (canon lift (core func $i "shout") (memory (core memory $i "m")) (realloc (core func $i "r"))))
 (func (export "sum") (param "pair" (tuple s32 s32)) (result s32) (canon lift (core func $i "add"))))"""


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `wasmq` with these words; returns the finished process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        call = [sys.executable, "-m", "wasmq", *map(str, words)]
        return subprocess.run(
            call, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL
        )

    return run


def test_the_command_line(command: Any, tmp_path: Path) -> None:
    """Words are JSON, or strings as they are; results print as JSON, strings as they are; types are shown as WIT."""
    file = tmp_path / "c.wat"
    file.write_text(WAT)
    assert command("run", file, "same", "a b").stdout == "a b\n"
    assert command("run", file, "same", '"a\\"b"').stdout == 'a"b\n'
    assert command("run", file, "sum", "[2, -5]").stdout == "-3\n"
    wrong = command("run", file, "sum", "[2, x]")
    assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (2, "", 1)
    assert "wants tuple<s32, s32>, a tuple of 2, got '[2, x]' (str)" in wrong.stderr
    shown = command("inspect", file).stdout
    assert "component" in shown
    assert "func(pair: tuple<s32, s32>) -> s32" in shown
    reported = msgspec.json.decode(command("run", "--json", file, "sum", "[1, 1]").stdout)
    assert (reported["status"], reported["value"], reported["values"]) == ("succeeded", 2, [2])


def test_a_command_on_the_command_line(command: Any, components: Path) -> None:
    """A component that is a WASI command runs like a program, and inspect says who satisfies its imports."""
    file = components.relative_to(ROOT) / "hello.wasm"
    done = command("run", file, "--", "x")
    assert done.stdout.startswith("argument 0: hello.wasm\nargument 1: x\n")
    assert done.returncode == 1
    lines = [" ".join(line.split()) for line in command("inspect", file).stdout.splitlines()]
    assert "export wasi:cli/run@0.2.12#run func() -> result" in lines
    assert "import wasi:cli/environment@0.2.12#get-arguments func() -> list<string> WASI 0.2" in lines
