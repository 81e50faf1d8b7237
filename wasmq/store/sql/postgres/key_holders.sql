-- The jobs that hold keys.
SELECT k.tenant, k.key, k.id, coalesce(j.job, f.job) AS job, coalesce(j.attempt, f.attempt) AS attempt,
       coalesce(j.returned, f.returned) AS returned
FROM unnest($1::text[], $2::text[]) AS wanted (tenant, key)
JOIN wasmq_keys AS k USING (tenant, key)
LEFT JOIN wasmq_jobs AS j ON j.id = k.id
LEFT JOIN wasmq_finished AS f ON f.id = k.id
