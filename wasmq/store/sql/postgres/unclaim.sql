-- Queues again what claims took whose answers were lost; their starts do not count, for nothing was started.
UPDATE wasmq_jobs
SET state = 'ready', returned = returned + 1, owner = NULL, claim = NULL
WHERE owner = $1 AND state = 'running' AND claim = ANY ($2::bigint[])
RETURNING id
