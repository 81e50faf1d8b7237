-- Moves jobs whose latest attempt has ended to the history, if that attempt is still this daemon's.
WITH ended AS (
    SELECT * FROM unnest($1::text[], $2::integer[], $3::text[], $4::bytea[])
        WITH ORDINALITY AS ended (id, attempt, status, outcome, n)
), gone AS (
    DELETE FROM wasmq_jobs AS j USING ended
    WHERE j.id = ended.id AND j.state = 'running' AND j.attempt = ended.attempt AND j.owner = $5
    RETURNING j.id, j.tenant, j.key, ended.status, j.attempt, j.returned, j.body, ended.outcome, ended.n
)
INSERT INTO wasmq_finished (id, tenant, key, status, finished_at, attempt, returned, owner, body, outcome)
SELECT id, tenant, key, status, $6, attempt, returned, $5, body, outcome FROM gone ORDER BY n
RETURNING id, attempt
