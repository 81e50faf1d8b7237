SELECT state, attempt, returned, job, NULL::bytea AS outcome FROM wasmq_jobs WHERE id = $1
UNION ALL
SELECT 'finished', attempt, returned, job, outcome FROM wasmq_finished WHERE id = $1
