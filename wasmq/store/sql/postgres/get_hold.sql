SELECT fuel, memory, pace FROM wasmq_holds WHERE id = $1
