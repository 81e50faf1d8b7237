;; The smallest useful job: the product of two i32, modulo 2^32. It costs 4 fuel, so what a run of it takes is the
;; price of being a job at all.
;;
;;   wasmq run workers/guests/mul.wat mul 2 4            -> 8
(module
  (func (export "mul") (param $a i32) (param $b i32) (result i32)
    (i32.mul (local.get $a) (local.get $b))))
