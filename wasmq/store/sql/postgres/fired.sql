SELECT fired FROM wasmq_periodic WHERE name = $1
