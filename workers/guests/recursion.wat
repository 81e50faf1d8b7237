;; The stack hog: "dive" calls itself for ever. The addition after the call keeps it out of tail position, so that no
;; compiler can make a loop of it. It traps with a stack overflow after some 30 000 fuel, or is out of fuel before.
;;
;;   wasmq run workers/guests/recursion.wat dive         trapped
(module
  (func $dive (export "dive") (result i32)
    (i32.add (call $dive) (i32.const 1))))
