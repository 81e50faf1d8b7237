-- Lets jobs take each other's turns: some start in place of others, which are queued as if they had not.
UPDATE wasmq_jobs AS j
SET ord = turns.ord - coalesce((SELECT s.shift FROM wasmq_shifts AS s WHERE s.tenant = j.tenant), 0),
    attempt = turns.attempt,
    state = CASE WHEN turns.starts THEN 'running' ELSE 'ready' END,
    owner = CASE WHEN turns.starts THEN $5::bigint END,
    claim = CASE WHEN turns.starts THEN $6::bigint END
FROM unnest($1::text[], $2::boolean[], $3::integer[], $4::double precision[]) AS turns (id, starts, attempt, ord)
WHERE j.id = turns.id
