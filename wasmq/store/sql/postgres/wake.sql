-- Makes delayed jobs ready whose time has come.
UPDATE wasmq_jobs SET state = 'ready'
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM wasmq_jobs WHERE state = 'delayed' AND ready_at <= $1
    ORDER BY ready_at
    LIMIT $2
    FOR UPDATE
))
