SELECT id, attempt, refuelled FROM wasmq_jobs WHERE owner = $1 AND refuelled IS NOT NULL AND state = 'running'
