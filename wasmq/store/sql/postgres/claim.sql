-- Starts ready jobs, those of tenants apart that wait for their accounts. Others that claim at the same time pass over
-- the rows that this one has locked.
UPDATE wasmq_jobs
SET state = 'running', attempt = attempt + 1, owner = $2, claim = $3
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM wasmq_jobs AS j WHERE state = 'ready'
        AND NOT EXISTS (SELECT FROM wasmq_accounts AS a WHERE a.tenant = j.tenant AND a.look_again > $4)
    ORDER BY priority DESC, ord, age
    LIMIT $1
    FOR UPDATE SKIP LOCKED
))
RETURNING id, tenant, key, attempt, returned, body, priority, ord, age
