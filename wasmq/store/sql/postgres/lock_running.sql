SELECT id, tenant, key, attempt, returned, body FROM wasmq_jobs
WHERE id = $1 AND state = 'running' AND attempt = $2
FOR UPDATE
