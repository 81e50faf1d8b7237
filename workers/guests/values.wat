;; Every core value type on its way in and out, and calls with several results. "i32" to "v128" give back what they are
;; given, bit for bit; "divmod" gives the quotient and the remainder; "all" takes one value of each type and gives them
;; back in the opposite order.
;;
;;   wasmq run workers/guests/values.wat divmod 42 5     -> 8 and 2
;;   wasmq run workers/guests/values.wat f64 0.5         -> 0.5
(module
  (func (export "divmod") (param $a i32) (param $b i32) (result i32 i32)
    (i32.div_s (local.get $a) (local.get $b))
    (i32.rem_s (local.get $a) (local.get $b)))

  (func (export "i32") (param $value i32) (result i32) (local.get $value))
  (func (export "i64") (param $value i64) (result i64) (local.get $value))
  (func (export "f32") (param $value f32) (result f32) (local.get $value))
  (func (export "f64") (param $value f64) (result f64) (local.get $value))
  (func (export "v128") (param $value v128) (result v128) (local.get $value))

  (func (export "all")
    (param $a i32) (param $b i64) (param $c f32) (param $d f64) (param $e v128)
    (result v128 f64 f32 i64 i32)
    (local.get $e)
    (local.get $d)
    (local.get $c)
    (local.get $b)
    (local.get $a)))
