;; Right for most arguments, a trap for two: the signed quotient, rounded towards zero. Dividing by zero traps, and so
;; does -2147483648 by -1, whose quotient does not fit.
;;
;;   wasmq run workers/guests/divide.wat divide 42 5     -> 8
;;   wasmq run workers/guests/divide.wat divide 42 0     trapped
(module
  (func (export "divide") (param $a i32) (param $b i32) (result i32)
    (i32.div_s (local.get $a) (local.get $b))))
