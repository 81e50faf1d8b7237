"""`wasmq inspect`: what a module says about itself."""

from __future__ import annotations

import hashlib
import os

import msgspec
import pytest

from wasmq.cli.app import main
from wasmq.cli.inspect import load_module
from wasmq.config import Config, ModulesConfig

from .conftest import GUESTS

EMPTY = b"\0asm\1\0\0\0"


def test_it_names_what_a_module_exports_and_imports(wasmq, tmp_path):
    """Kind, digest, size, memories, and every export and import with its type, in plain columns."""
    file = tmp_path / "module.wat"
    file.write_text(
        '(module (import "env" "log" (func (param i32)))'
        ' (memory (export "memory") 1 16) (func (export "f\\1b") (result f64) (f64.const 0)))'
    )
    done = wasmq("inspect", file)
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]

    assert (done.returncode, done.stderr) == (0, "")
    assert lines[0] == "kind module"
    assert "memory 64 KiB, at most 1 MiB, exported as memory" in lines
    assert "export memory (memory 1 16)" in lines
    assert "export f\\x1b (func (result f64))" in lines
    assert "import env.log (func (param i32)) nobody offers the import env.log (func (param i32))" in lines


def test_the_digest_is_that_of_the_bytes(wasmq, tmp_path):
    """The digest is the SHA-256 of the wasm bytes, and --json is one object."""
    file = tmp_path / "empty.wasm"
    file.write_bytes(EMPTY)
    done = wasmq("inspect", file, "--json")

    assert msgspec.json.decode(done.stdout) == {
        "kind": "module",
        "digest": hashlib.sha256(EMPTY).hexdigest(),
        "size": len(EMPTY),
        "exports": [],
        "imports": [],
        "supply": [],
    }


async def test_json_is_what_the_daemon_says(wasmq, tmp_path):
    """--json describes a module with every kind of export and import exactly as HTTP does, and says who satisfies."""
    bodies = pytest.importorskip("wasmq.server.modules")
    file = tmp_path / "module.wat"
    file.write_text(
        """(module
          (import "env" "log" (func (param i32)))
          (import "env" "shape" (global (mut i64)))
          (tag (export "tag") (param i32))
          (table (export "table") 1 2 funcref)
          (memory (export "memory") 1 16)
          (func (export "f") (result f64 v128) unreachable))"""
    )
    printed = msgspec.json.decode(wasmq("inspect", file, "--json").stdout)
    supply = printed.pop("supply")
    module = await load_module(Config(modules=ModulesConfig(directory=str(tmp_path))), file)

    assert [each["by"] for each in supply] == [None, None]
    assert "nobody offers the import env.log" in supply[0]["problem"]
    assert printed == msgspec.json.decode(msgspec.json.encode(bodies.module_body(module)))


def test_it_says_who_would_satisfy_the_imports(wasmq, tmp_path):
    """A linked module, WASI, or nobody and why: what a job with these links would find."""
    shared, user = tmp_path / "shared.wat", tmp_path / "user.wat"
    shared.write_text('(module (memory (export "memory") 1) (func (export "f") (param i64)))')
    user.write_text(
        """(module
          (import "env" "memory" (memory 1))
          (import "env" "f" (func (param i32)))
          (import "env" "g" (func))
          (import "wasi_snapshot_preview1" "sched_yield" (func (result i32))))"""
    )
    supply = msgspec.json.decode(wasmq("inspect", user, "--link", f"env={shared}", "--json").stdout)["supply"]
    lines = wasmq("inspect", user, "--link", f"env={shared}").stdout.splitlines()

    assert [each["by"] for each in supply] == ["link", None, None, "wasi"]
    assert supply[1]["problem"] == (
        "the import env.f has another type: it wants (func (param i32)), there is (func (param i64))"
    )
    assert "does not export the import env.g (func)" in supply[2]["problem"]
    assert lines[-4].endswith("the linked module env")
    assert lines[-1].endswith("WASI preview 1")


@pytest.mark.parametrize(("file", "status"), [("nonesuch.wasm", 66), ("pyproject.toml", 65)])
def test_what_is_no_module(wasmq, file, status):
    """A file that is not there is 66, one that is no module 65, each with one line that names it."""
    done = wasmq("inspect", file)

    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(f"wasmq: {file}")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_goes_away_is_no_error(spawn):
    """When the pipe's other end is closed the command ends as the shell expects, without a word."""
    reading, writing = os.pipe()
    os.close(reading)
    process = spawn("inspect", GUESTS / "mul.wat", stdout=writing, stderr=-1)
    os.close(writing)

    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 141


@pytest.mark.parametrize("params", ["i32", "i64"])
def test_a_configured_host_function_is_named_with_its_grant(tmp_path, capsys, params):
    """So one sees what a job would need to be granted; one of another type is shown with both."""
    file, config = tmp_path / "asks.wat", tmp_path / "wasmq.toml"
    file.write_text('(module (import "env" "neg" (func (param i32) (result i32))))')
    config.write_text(
        f'[host.functions]\n"env.neg" = {{ path = "operator:neg", params = ["{params}"], results = ["i32"] }}\n'
    )
    assert main(["inspect", str(file), "--config", str(config), "--json"]) == 0
    [supply] = msgspec.json.decode(capsys.readouterr().out)["supply"]
    if params == "i32":
        assert supply == {"by": "host", "problem": None}
        assert main(["inspect", str(file), "--config", str(config)]) == 0
        assert "needs a grant of env.neg" in " ".join(capsys.readouterr().out.split())
    else:
        assert supply["by"] is None
        assert supply["problem"].endswith(
            "it wants (func (param i32) (result i32)), there is (func (param i64) (result i32))"
        )
