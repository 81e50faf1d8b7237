;; Waits in a call of its host, which offers env.wait.
(module
  (import "env" "wait" (func $wait))
  (func (export "run")
    (call $wait)))
