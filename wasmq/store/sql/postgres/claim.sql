-- Starts ready jobs. Others that claim at the same time pass over the rows that this one has locked.
UPDATE wasmq_jobs
SET state = 'running', attempt = attempt + 1, owner = $2, claim = $3
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM wasmq_jobs WHERE state = 'ready'
    ORDER BY priority DESC, ord, age
    LIMIT $1
    FOR UPDATE SKIP LOCKED
))
RETURNING id, tenant, key, attempt, returned, body, priority, ord, age
