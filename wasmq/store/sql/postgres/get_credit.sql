SELECT fuel FROM wasmq_credits WHERE tenant = $1 AND key = $2
