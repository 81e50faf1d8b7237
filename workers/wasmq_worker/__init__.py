"""The untrusted side of the wall: one sandboxed process that runs many metered WebAssembly instances.

It imports nothing from `wasmq`, which in turn knows only `wasmq_worker.protocol`.
"""
