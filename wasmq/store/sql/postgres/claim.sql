-- Starts ready jobs by their tags, those of tenants apart that wait for their accounts. Where a tenant's tags have moved,
-- its first jobs are looked at one tenant after the other, for no index knows where they stand now; of the others the
-- index gives the first. Who claims at the same time passes over the rows that this one has locked.
WITH moved AS (
    SELECT j.row, j.ord + s.shift AS ord, j.age
    FROM wasmq_shifts AS s CROSS JOIN LATERAL (
        SELECT r.ctid AS row, r.ord, r.age FROM wasmq_jobs AS r
        WHERE r.state = 'ready' AND r.tenant = s.tenant
            AND r.tenant <> ALL (ARRAY(SELECT a.tenant FROM wasmq_accounts AS a WHERE a.look_again > $4))
        ORDER BY r.priority DESC, r.deadline, r.age
        LIMIT $1
        FOR UPDATE SKIP LOCKED
    ) AS j
    WHERE s.shift <> 0
), others AS (
    SELECT ctid AS row, ord, age FROM wasmq_jobs
    WHERE state = 'ready'
        -- As an array, for a join would be planned over the whole queue.
        AND tenant <> ALL (ARRAY(
            SELECT a.tenant FROM wasmq_accounts AS a WHERE a.look_again > $4
            UNION ALL
            SELECT s.tenant FROM wasmq_shifts AS s WHERE s.shift <> 0
        ))
    ORDER BY ord, age
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)
UPDATE wasmq_jobs
SET state = 'running', attempt = attempt + 1, owner = $2, claim = $3
WHERE ctid = ANY (ARRAY(
    SELECT row FROM (SELECT * FROM moved UNION ALL SELECT * FROM others) AS first ORDER BY ord, age LIMIT $1
))
RETURNING id, tenant, key, attempt, returned, body, age,
    ord + coalesce((SELECT s.shift FROM wasmq_shifts AS s WHERE s.tenant = wasmq_jobs.tenant), 0) AS ord
