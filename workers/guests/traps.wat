;; One export for each way that core WebAssembly has to trap, named for its trap. All of them trap at once but
;; stack_overflow, which first needs some thousand calls.
;;
;;   wasmq run workers/guests/traps.wat unreachable      trapped
(module
  (type $nothing (func))
  (type $number (func (result i32)))
  (memory 1)
  ;; Element 0 is a function, element 1 stays null, and there is no element 2.
  (table 2 funcref)
  (elem (i32.const 0) $answer)
  (func $answer (type $number) (i32.const 42))

  (func (export "unreachable")
    (unreachable))

  ;; The four bytes start inside the memory's only page and end outside.
  (func (export "memory_out_of_bounds") (result i32)
    (i32.load (i32.const 65533)))

  (func (export "table_out_of_bounds")
    (call_indirect (type $nothing) (i32.const 2)))

  (func (export "indirect_call_to_null")
    (call_indirect (type $nothing) (i32.const 1)))

  (func (export "bad_signature")
    (call_indirect (type $nothing) (i32.const 0)))

  (func (export "integer_division_by_zero") (result i32)
    (i32.div_s (i32.const 1) (i32.const 0)))

  (func (export "integer_overflow") (result i32)
    (i32.div_s (i32.const 0x80000000) (i32.const -1)))

  (func (export "bad_conversion_to_integer") (result i32)
    (i32.trunc_f64_s (f64.const nan)))

  (func $stack_overflow (export "stack_overflow") (result i32)
    (i32.add (call $stack_overflow) (i32.const 1))))
