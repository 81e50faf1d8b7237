-- Sets jobs of a tenant aside that has to wait, all but the first.
UPDATE wasmq_jobs SET state = 'held'
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM wasmq_jobs WHERE state = 'ready' AND tenant = $1
    ORDER BY priority DESC, deadline, age
    OFFSET $2 LIMIT $3
    FOR UPDATE SKIP LOCKED
))
