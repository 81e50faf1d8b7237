"""Guests that call host functions, as WebAssembly text."""


def caller(name, params="", result="", *, module="env"):
    """A module whose export "call" passes its arguments on to one host function and returns what that returns."""
    param = f"(param {params})" if params else ""
    results = f"(result {result})" if result else ""
    arguments = " ".join(f"(local.get {place})" for place in range(len(params.split())))
    return f"""(module
      (import "{module}" "{name}" (func $f {param} {results}))
      (memory (export "memory") 1)
      (func (export "call") {param} {results} (call $f {arguments}))
      (func (export "mul") (param i32 i32) (result i32) (i32.mul (local.get 0) (local.get 1))))"""


# "echo" passes the first bytes of its memory, with room for an answer at 1 000; it returns the length of the answer and
# its first eight bytes.
ECHO = """(module
  (import "env" "echo" (func $echo (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "na\\c3\\afve")
  (func (export "echo") (param $length i32) (param $room i32) (result i32 i64)
    (call $echo (i32.const 0) (local.get $length) (i32.const 1000) (local.get $room))
    (i64.load (i32.const 1000))))"""
# Calls env.tick so often.
TICKS = """(module
  (import "env" "tick" (func $tick))
  (func (export "ticks") (param $n i32)
    (loop $again (call $tick) (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))"""
# A start function and an initialiser that both ask for a number; "sum" adds them up.
REACTOR = """(module
  (import "env" "number" (func $number (result i32)))
  (global $sum (mut i32) (i32.const 0))
  (func $add (global.set $sum (i32.add (global.get $sum) (call $number))))
  (func (export "_initialize") (call $add))
  (func (export "sum") (result i32) (global.get $sum))
  (start $add))"""
