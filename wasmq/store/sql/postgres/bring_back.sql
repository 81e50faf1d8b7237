-- Brings the first of a tenant's jobs back that were set aside.
UPDATE wasmq_jobs SET state = 'ready'
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM wasmq_jobs WHERE state = 'held' AND tenant = $1
    ORDER BY priority DESC, deadline, age
    LIMIT $2
    FOR UPDATE SKIP LOCKED
))
