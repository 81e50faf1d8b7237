SELECT wasm FROM wasmq_modules WHERE digest = $1
