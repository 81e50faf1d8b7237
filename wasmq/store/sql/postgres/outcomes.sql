-- What has become of jobs: those that have finished with their outcomes, the others of which something is known without.
SELECT f.id, f.attempt, f.returned, f.job, f.outcome FROM wasmq_finished AS f WHERE f.id = ANY ($1::text[])
UNION ALL
SELECT j.id, j.attempt, j.returned, NULL, NULL FROM wasmq_jobs AS j WHERE j.id = ANY ($1::text[])
