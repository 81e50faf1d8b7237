;; Calls one WASI function over and over, to see what a call costs. Each export takes how often.
;;
;;     wasmq run workers/guests/wasi/calls.wat write 1000
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_readdir" (func $fd_readdir (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (memory (export "memory") 1)
  ;; At 0 one vector: 64 bytes at 1024. At 16 a result, at 32 the name of a file.
  (data (i32.const 0) "\00\04\00\00\40\00\00\00")
  (data (i32.const 32) "file")

  ;; Ends the guest unless a call has succeeded.
  (func $check (param $errno i32)
    (if (local.get $errno) (then unreachable)))

  ;; 64 bytes to standard output.
  (func (export "write") (param $times i32)
    (loop $again
      (call $check (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1))))))

  ;; 64 bytes from standard input, which may have ended.
  (func (export "read") (param $times i32)
    (loop $again
      (call $check (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)))
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1))))))

  ;; Opens and closes "file", made if it is not there: two calls each time.
  (func (export "open") (param $times i32)
    (loop $again
      (call $check (call $path_open (i32.const 3) (i32.const 0) (i32.const 32) (i32.const 4) (i32.const 1)
        (i64.const 66) (i64.const 0) (i32.const 0) (i32.const 16)))
      (call $check (call $fd_close (i32.load (i32.const 16))))
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1))))))

  ;; The names in the root directory.
  (func (export "list") (param $times i32)
    (loop $again
      (call $check (call $fd_readdir (i32.const 3) (i32.const 1024) (i32.const 4096) (i64.const 0) (i32.const 16)))
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1))))))

  ;; The monotonic clock.
  (func (export "clock") (param $times i32)
    (loop $again
      (call $check (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 16)))
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))))
