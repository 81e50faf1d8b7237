UPDATE wasmq_jobs SET body = $2 WHERE id = $1
