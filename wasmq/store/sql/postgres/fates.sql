-- What has become of jobs: those that have finished with their outcomes, those that have not without.
SELECT id, tenant, key, attempt, returned, body, outcome FROM wasmq_finished WHERE id = ANY ($1::text[])
UNION ALL
SELECT id, tenant, key, attempt, returned, NULL, NULL FROM wasmq_jobs WHERE id = ANY ($1::text[])
