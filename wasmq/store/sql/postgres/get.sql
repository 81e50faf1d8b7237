SELECT id, tenant, key, state, attempt, returned, body, NULL::bytea AS outcome FROM wasmq_jobs WHERE id = $1
UNION ALL
SELECT id, tenant, key, 'finished', attempt, returned, body, outcome FROM wasmq_finished WHERE id = $1
