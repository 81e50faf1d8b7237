;; Asks for one page of memory after the other.
;;
;;     wasmq run workers/guests/neighbours/grow.wat run --timeout 1
(module
  (memory 1)
  (func (export "run")
    (loop $again
      (drop (memory.grow (i32.const 1)))
      (br $again))))
