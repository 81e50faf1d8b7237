-- Queues again jobs that this daemon runs.
UPDATE wasmq_jobs AS j
SET state = $4, ready_at = $5, returned = j.returned + $6, owner = NULL, claim = NULL
FROM unnest($1::text[], $2::integer[]) AS released (id, attempt)
WHERE j.id = released.id AND j.state = 'running' AND j.attempt = released.attempt AND j.owner = $3
RETURNING j.id
