"""`wasmq run`, on the real thing: what it prints and how it exits."""

from __future__ import annotations

import os
import pty
import re
import signal

import msgspec
import pytest

from .conftest import GUESTS

ENDLESS = ("--fuel", 10**12, "--timeout", 3600)


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (["mul.wat", "mul", "-2", "4"], "-8\n"),
        (["--fuel", "100", "mul.wat", "mul", "2", "4"], "8\n"),
        (["mul.wat", "mul", "0x10", "0xffff_ffff", "--fuel", "100", "--engine", "interpreter"], "-16\n"),
        (
            ["values.wat", "all", "1", "-2", "0.1", "-inf", "000102030405060708090a0b0c0d0e0f"],
            "000102030405060708090a0b0c0d0e0f -inf 0.10000000149011612 -2 1\n",
        ),
        (["values.wat", "f64", "nan"], "nan\n"),
        (["loop.wat", "burn", "100"], ""),
        (["grow.wat", "grow", "16", "--memory", "2MiB", "--timeout", "5", "--output", "1KiB"], "1\n"),
    ],
)
def test_a_value_is_printed_alone(wasmq, words, printed):
    """stdout has the values on one line, nothing when there is none; stderr stays empty; the exit status is 0."""
    words = [str(GUESTS / word) if word.endswith(".wat") else word for word in words]
    done = wasmq("run", *words)

    assert (done.returncode, done.stdout, done.stderr) == (0, printed, "")


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (["loop.wat", "spin", "--fuel", "1000"], 152, r"out of fuel.*1000.*\(workers/guests/loop\.wat, spin\)"),
        (["loop.wat", "spin", "--fuel", str(10**12), "--timeout", "0.1"], 124, r"timed out.*loop\.wat, spin\)"),
        (["grow.wat", "grow_until_refused", "16", "--memory", "4MiB"], 137, r"memory.*grow\.wat, grow_until_refused\)"),
        (["traps.wat", "unreachable"], 134, r"unreachable.*traps\.wat, unreachable\)"),
        (["mul.wat", "mul", "2"], 2, r"mul takes 2 arguments \(i32 i32\), not 1"),
        (["mul.wat", "mul", "2", "4.5"], 2, r"argument 2 of mul: i32 wanted.*'4\.5'"),
        (["mul.wat", "mul", "2", "4", "--fule", "9"], 2, r"unknown option --fule"),
        (["mul.wat", "mul", "2", "4", "--fuel", "lots"], 2, r"--fuel.*lots"),
        (["mul.wat", "mul", "2", "4", "--fuel", "0"], 2, r"fuel"),
        (["mul.wat", "mul", "2", "4", "--memory", "lots"], 2, r"memory.*'lots'"),
        (["mul.wat", "mul", "2", "4", "--config", "nonesuch.toml"], 2, r"nonesuch\.toml"),
        (["mul.wat", "nonesuch"], 2, r"mul\.wat.*nonesuch.*mul"),
        (["mul.wat"], 2, r"mul \(func \(param i32 i32\) \(result i32\)\)"),
        (["grow.wat", "memory"], 2, r"memory.*not a function"),
        (["nonesuch.wat", "mul"], 66, r"nonesuch\.wat: No such file"),
        ([".", "mul"], 66, r"\.: Is a directory"),
        (["mul.wat", "mul", "2", "4", "--fuel", str(10**13)], 77, r"fuel.*10000000000000"),
    ],
)
def test_what_goes_wrong_is_one_line_and_an_exit_status(wasmq, words, status, line):
    """stdout stays empty; stderr has one line that names the thing and the place; the exit status is the contract's."""
    words = [str(GUESTS / word) if word.endswith(".wat") else word for word in words]
    done = wasmq("run", *words)

    assert (done.returncode, done.stdout) == (status, "")
    assert re.fullmatch(rf"wasmq: .*{line}.*\n", done.stderr), done.stderr


@pytest.mark.parametrize(
    "text",
    ["not a module", "(module (func $f (result i32)))", '(module (import "env" "log" (func)) (func (export "f")))'],
)
def test_a_module_that_cannot_run_is_65(wasmq, tmp_path, text):
    """Text that is no module, an invalid module and an import that nobody offers end the command before any job."""
    file = tmp_path / "bad.wat"
    file.write_text(text)
    done = wasmq("run", file, "f")

    assert (done.returncode, done.stdout) == (65, "")
    assert re.fullmatch(r"wasmq: .*\n", done.stderr), done.stderr


def test_json_is_the_outcome(wasmq):
    """--json prints one object with the outcome's names, values as over HTTP."""
    done = wasmq("run", "--json", GUESTS / "mul.wat", "mul", 2, 4)
    outcome = msgspec.json.decode(done.stdout)

    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    assert outcome | {"status": "succeeded", "value": 8, "values": [8], "fuel_used": 4, "error": None} == outcome
    assert outcome | {"engine": "native", "attempts": 1, "stdout": "", "trap": None} == outcome


def test_json_of_a_failed_job_has_the_backtrace(wasmq):
    """A trap is the same exit status and line as without --json, and stdout tells where it happened."""
    done = wasmq("run", "--json", GUESTS / "traps.wat", "unreachable")
    outcome = msgspec.json.decode(done.stdout)

    assert (done.returncode, done.stderr.count("\n")) == (134, 1)
    assert (outcome["status"], outcome["value"], outcome["trap"]["code"]) == ("trapped", None, "unreachable")
    assert outcome["trap"]["backtrace"][0]["function"] == 1


def test_limits_come_from_the_configuration_unless_flags_say_otherwise(wasmq, tmp_path):
    """A flag goes over the file's default, and the file's ceiling holds for the flag."""
    file = tmp_path / "wasmq.toml"
    file.write_text("[limits]\nfuel = 2000\n[limits.max]\nfuel = 5000\n")
    call = ("run", GUESTS / "loop.wat", "spin", "--config", file)

    assert "2000" in wasmq(*call).stderr
    assert "3000" in wasmq(*call, "--fuel", 3000).stderr
    assert wasmq(*call, "--fuel", 6000).returncode == 77


def test_ctrl_c_cancels_the_job(spawn):
    """On a terminal a long job shows that it runs; Ctrl-C cancels it, which is one line and exit status 130."""
    terminal, stderr = pty.openpty()
    process = spawn("run", GUESTS / "loop.wat", "spin", *ENDLESS, stderr=stderr)
    os.close(stderr)
    shown = b""
    while b"Ctrl-C" not in shown:
        shown += os.read(terminal, 4096)
    process.send_signal(signal.SIGINT)

    assert process.wait(60) == 130
    rest = os.read(terminal, 65536)
    assert b"wasmq: cancelled" in rest
    assert b"Traceback" not in rest
    os.close(terminal)


def test_modules_are_linked_by_name(wasmq, tmp_path):
    """--link NAME=FILE satisfies what is imported from NAME, as often as it is given."""
    one, two, user = tmp_path / "one.wat", tmp_path / "two.wat", tmp_path / "user.wat"
    one.write_text('(module (func (export "f") (result i32) (i32.const 40)))')
    two.write_text('(module (import "one" "f" (func $f (result i32))) (func (export "g") (result i32) (call $f)))')
    user.write_text(
        '(module (import "two" "g" (func $g (result i32)))'
        ' (func (export "h") (param i32) (result i32) (i32.add (call $g) (local.get 0))))'
    )
    done = wasmq("run", user, "h", "2", "--link", f"two={two}", "--link", f"one={one}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "42\n", "")


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (["--link", "two"], 2, "--link two: wants NAME=FILE"),
        (["--link", "a=mul.wat", "--link", "a=mul.wat"], 2, "--link a=mul.wat: the name a is linked already"),
        (["--link", "a=nonesuch.wasm"], 66, "nonesuch.wasm"),
    ],
)
def test_a_link_that_is_none(wasmq, words, status, line):
    """What is wrong with a link is said in one line."""
    done = wasmq(
        "run",
        GUESTS / "mul.wat",
        "mul",
        "2",
        "4",
        *[word.replace("mul.wat", str(GUESTS / "mul.wat")) for word in words],
    )
    assert (done.returncode, done.stdout) == (status, "")
    assert line.replace("mul.wat", str(GUESTS / "mul.wat")) in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_deadline_ends_a_job_as_a_timeout_does(wasmq):
    """With the same exit status, and a line that says which of the two it was; one in the past is a wrong call."""
    done = wasmq("run", str(GUESTS / "loop.wat"), "spin", "--deadline", "0.5", *ENDLESS)
    assert (done.returncode, done.stdout) == (124, "")
    assert "timed out: its deadline passed" in done.stderr
    done = wasmq("run", str(GUESTS / "loop.wat"), "spin", "--deadline", "-1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "deadline: -1" in done.stderr
