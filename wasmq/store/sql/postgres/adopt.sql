-- Takes over running jobs whose daemon is not there any more, and those that this one has taken over already in one of
-- the tries whose answers were lost.
UPDATE wasmq_jobs AS j SET owner = $1, claim = $3
WHERE j.ctid = ANY (ARRAY(
    SELECT o.ctid FROM wasmq_jobs AS o
    WHERE o.state = 'running' AND (
        o.owner <> $1 AND NOT EXISTS (SELECT FROM wasmq_daemons AS d WHERE d.id = o.owner)
        OR o.owner = $1 AND o.claim = ANY ($4::bigint[])
    )
    LIMIT $2
    FOR UPDATE OF o SKIP LOCKED
))
RETURNING j.id, j.tenant, j.key, j.attempt, j.returned, j.body,
    j.ord + coalesce((SELECT s.shift FROM wasmq_shifts AS s WHERE s.tenant = j.tenant), 0) AS ord
