-- Starts ready jobs by their tags, those of tenants apart that wait for their accounts or let others go first. Where a tenant's tags have moved
-- no index knows where they stand among the others: so of these tenants the first tag of each is looked at, and behind
-- it only what may be among the first of all. Nothing is locked but what starts. Twice as many are looked at as are
-- wanted, for others that claim at the same time have the first of them: a claim passes over what they have locked.
WITH held AS MATERIALIZED (
    SELECT tenant FROM wasmq_accounts WHERE look_again > $4 UNION ALL SELECT unnest($5::text[])
), lanes AS MATERIALIZED (
    SELECT s.tenant, s.shift, head.ord + s.shift AS tag
    FROM wasmq_shifts AS s CROSS JOIN LATERAL (
        SELECT r.ord FROM wasmq_jobs AS r
        WHERE r.state = 'ready' AND r.tenant = s.tenant
        ORDER BY r.ord, r.age
        LIMIT 1
    ) AS head
    WHERE s.shift <> 0 AND s.tenant NOT IN (SELECT tenant FROM held)
    ORDER BY tag
    LIMIT 2 * $1::integer
), moved AS (
    SELECT j.id, j.ord + lanes.shift AS ord, j.age
    FROM lanes CROSS JOIN LATERAL (
        SELECT r.id, r.ord, r.age FROM wasmq_jobs AS r
        WHERE r.state = 'ready' AND r.tenant = lanes.tenant
            AND r.ord <= (
                SELECT CASE WHEN count(*) < 2 * $1 THEN 'infinity' ELSE max(tag) END FROM lanes
            ) - lanes.shift
        ORDER BY r.ord, r.age
        LIMIT 2 * $1
    ) AS j
), others AS (
    SELECT id, ord, age FROM wasmq_jobs
    WHERE state = 'ready'
        -- Not as a join, which would be planned over the whole queue: this is looked up in a table of hashes.
        AND tenant NOT IN (SELECT tenant FROM held UNION ALL SELECT tenant FROM wasmq_shifts WHERE shift <> 0)
    ORDER BY ord, age
    LIMIT 2 * $1
), first AS MATERIALIZED (
    SELECT * FROM moved UNION ALL SELECT * FROM others ORDER BY ord, age LIMIT 2 * $1
)
UPDATE wasmq_jobs
SET state = 'running', attempt = attempt + 1, owner = $2, claim = $3
-- By id: what another claim has given a turn since this one began to look is in another place now.
WHERE id = ANY (ARRAY(
    SELECT j.id FROM first JOIN wasmq_jobs AS j USING (id)
    -- In these words, or the planner reads an index of all ready jobs for it.
    WHERE j.id = ANY (ARRAY(SELECT id FROM first)) AND (j.state = 'ready') IS TRUE
    ORDER BY first.ord, first.age
    LIMIT $1
    FOR UPDATE OF j SKIP LOCKED
))
RETURNING id, tenant, key, attempt, returned, body, age,
    ord + coalesce((SELECT s.shift FROM wasmq_shifts AS s WHERE s.tenant = wasmq_jobs.tenant), 0) AS ord
