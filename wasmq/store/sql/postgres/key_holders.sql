-- The jobs that hold keys.
SELECT k.tenant, k.key, k.id, coalesce(j.body, f.body) AS body, coalesce(j.attempt, f.attempt) AS attempt,
       coalesce(j.returned, f.returned) AS returned
FROM unnest($1::text[], $2::text[]) AS wanted (tenant, key)
JOIN wasmq_keys AS k USING (tenant, key)
LEFT JOIN wasmq_jobs AS j ON j.id = k.id
LEFT JOIN wasmq_finished AS f ON f.id = k.id
WHERE j.id IS NOT NULL OR f.id IS NOT NULL
