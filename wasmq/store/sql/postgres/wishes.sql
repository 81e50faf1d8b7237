SELECT id FROM wasmq_jobs WHERE owner = $1 AND unwanted AND state = 'running'
