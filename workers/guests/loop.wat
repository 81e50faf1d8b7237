;; The hog. "spin" never returns: fuel or time must end it. "burn" is a hog of a chosen size: it counts down and returns
;; after roughly n fuel.
;;
;;   wasmq run workers/guests/loop.wat spin --fuel 1000000        out of fuel
;;   wasmq run workers/guests/loop.wat spin --timeout 0.5 --fuel 1000000000000        timed out
;;   wasmq run workers/guests/loop.wat burn 1000000               no value, about 1 000 000 fuel
(module
  (func (export "spin")
    (loop $forever
      (br $forever)))

  ;; One turn of the loop is nine metered instructions, and so nine fuel.
  (func (export "burn") (param $n i64)
    (block $done
      (loop $again
        (br_if $done (i64.lt_s (local.get $n) (i64.const 9)))
        (local.set $n (i64.sub (local.get $n) (i64.const 9)))
        (br $again)))))
