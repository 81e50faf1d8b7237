;; The memory hog. Over its cap memory.grow answers -1 and the guest decides what comes of it: "grow_until_refused" asks
;; for so many pages (of 64 KiB) again and again, and dies of the refusal; "grow" hands back memory.grow's own answer,
;; which is the size before in pages, or -1, and copes. Asking for 0 pages is never refused and never ends.
;;
;;   wasmq run workers/guests/grow.wat grow_until_refused 16 --memory 4MiB        out of memory
;;   wasmq run workers/guests/grow.wat grow 16                                    -> 1
;;   wasmq run workers/guests/grow.wat grow 1000 --memory 4MiB                    -> -1
(module
  (memory (export "memory") 1)

  (func (export "grow_until_refused") (param $pages i32)
    (loop $again
      (br_if $again (i32.ne (memory.grow (local.get $pages)) (i32.const -1))))
    (unreachable))

  (func (export "grow") (param $pages i32) (result i32)
    (memory.grow (local.get $pages))))
