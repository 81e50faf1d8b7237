;; A module that works before it is called: its start function sums 1 to 100 into a global. "get" reads the global and
;; then counts it up, so a second job that saw anything but 5050 would be sharing the first one's instance.
;;
;;   wasmq run workers/guests/start.wat get              -> 5050
(module
  (global $total (mut i32) (i32.const 0))

  (func $sum
    (local $i i32)
    (loop $again
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (global.set $total (i32.add (global.get $total) (local.get $i)))
      (br_if $again (i32.lt_s (local.get $i) (i32.const 100)))))
  (start $sum)

  (func (export "get") (result i32)
    (global.get $total)
    (global.set $total (i32.add (global.get $total) (i32.const 1)))))
