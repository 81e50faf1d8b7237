SELECT min(ready_at) FROM wasmq_jobs WHERE state = 'delayed'
