;; Work whose size is chosen by its argument: the plain doubly recursive Fibonacci number. A leaf of the recursion costs
;; 6 fuel and every other call 14, so fib(20) costs 218 906 on every engine. fib(47) is the first that overflows an i32.
;;
;;   wasmq run workers/guests/fib.wat fib 20             -> 6765
(module
  (func $fib (export "fib") (param $n i32) (result i32)
    (if (result i32) (i32.lt_s (local.get $n) (i32.const 2))
      (then (local.get $n))
      (else
        (i32.add
          (call $fib (i32.sub (local.get $n) (i32.const 1)))
          (call $fib (i32.sub (local.get $n) (i32.const 2))))))))
