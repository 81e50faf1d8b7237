-- Who has no job has no tag that could have moved.
DELETE FROM wasmq_shifts WHERE ctid = ANY (ARRAY(
    SELECT s.ctid FROM wasmq_shifts AS s
    WHERE NOT EXISTS (SELECT FROM wasmq_jobs AS j WHERE j.tenant = s.tenant)
    FOR UPDATE OF s SKIP LOCKED
))
