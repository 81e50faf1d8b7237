-- The first ready jobs of tenants by what counts among their own, as many of each as are starting; those that another
-- daemon has locked are passed over.
SELECT j.id, j.tenant, j.key, j.attempt, j.returned, j.body, j.age,
    j.ord + coalesce((SELECT s.shift FROM wasmq_shifts AS s WHERE s.tenant = j.tenant), 0) AS ord
FROM unnest($1::text[], $2::integer[]) AS starting (tenant, jobs)
CROSS JOIN LATERAL (
    SELECT * FROM wasmq_jobs AS r
    WHERE r.state = 'ready' AND r.tenant = starting.tenant
    ORDER BY r.priority DESC, r.deadline, r.age
    LIMIT starting.jobs
    FOR UPDATE SKIP LOCKED
) AS j
