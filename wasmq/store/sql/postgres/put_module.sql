INSERT INTO wasmq_modules (digest, wasm) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING
