SELECT id, tenant, key, state, attempt, returned, body,
        ord + coalesce((SELECT s.shift FROM wasmq_shifts AS s WHERE s.tenant = wasmq_jobs.tenant), 0) AS ord,
        NULL::bytea AS outcome FROM wasmq_jobs WHERE id = $1
UNION ALL
SELECT id, tenant, key, 'finished', attempt, returned, body, NULL, outcome FROM wasmq_finished WHERE id = $1
