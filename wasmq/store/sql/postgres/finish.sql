-- Moves jobs whose latest attempt has ended to the history, if that attempt is still this daemon's, and the tags of
-- their tenants' waiting jobs by what they used beyond what was expected.
WITH ended AS (
    SELECT * FROM unnest($1::text[], $2::integer[], $3::text[], $4::bytea[], $7::double precision[])
        WITH ORDINALITY AS ended (id, attempt, status, outcome, shift, n)
), gone AS (
    DELETE FROM wasmq_jobs AS j USING ended
    WHERE j.id = ended.id AND j.state = 'running' AND j.attempt = ended.attempt AND j.owner = $5
    RETURNING j.id, j.tenant, j.key, ended.status, j.attempt, j.returned, j.body, ended.outcome, ended.shift, ended.n
), moved AS (
    INSERT INTO wasmq_shifts AS s (tenant, shift)
    SELECT tenant, sum(shift) FROM gone
    WHERE EXISTS (SELECT FROM wasmq_jobs AS w WHERE w.tenant = gone.tenant AND w.state = 'ready')
    GROUP BY tenant HAVING sum(shift) <> 0 ORDER BY tenant
    ON CONFLICT (tenant) DO UPDATE SET shift = s.shift + excluded.shift
)
INSERT INTO wasmq_finished (id, tenant, key, status, finished_at, attempt, returned, owner, body, outcome)
SELECT id, tenant, key, status, $6, attempt, returned, $5, body, outcome FROM gone ORDER BY n
RETURNING id, attempt
