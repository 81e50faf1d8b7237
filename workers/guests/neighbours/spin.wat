;; Computes without end.
;;
;;     wasmq run workers/guests/neighbours/spin.wat run --timeout 1
(module
  (func (export "run")
    (loop $again (br $again))))
