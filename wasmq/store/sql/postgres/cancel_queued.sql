WITH gone AS (
    DELETE FROM wasmq_jobs WHERE id = ANY ($1::text[])
    RETURNING id, tenant, key, attempt, returned, body
)
INSERT INTO wasmq_finished (id, tenant, key, status, finished_at, attempt, returned, owner, body, outcome)
SELECT id, tenant, key, $2, $3, attempt, returned, $4, body, $5
FROM gone ORDER BY array_position($1::text[], id)
