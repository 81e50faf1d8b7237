-- One page, newest first. The status is a state or what an outcome says; a 'queued' job is a delayed or a ready one.
(
    SELECT id, tenant, key, state, attempt, returned, body,
        ord + coalesce((SELECT s.shift FROM wasmq_shifts AS s WHERE s.tenant = wasmq_jobs.tenant), 0) AS ord,
        NULL::bytea AS outcome FROM wasmq_jobs
    WHERE ($1::text IS NULL OR tenant = $1) AND ($3::text IS NULL OR id < $3)
        AND ($2::text IS NULL OR (CASE state WHEN 'running' THEN 'running' ELSE 'queued' END) = $2)
    ORDER BY id DESC LIMIT $4
) UNION ALL (
    SELECT id, tenant, key, 'finished', attempt, returned, body, NULL, outcome FROM wasmq_finished
    WHERE ($1::text IS NULL OR tenant = $1) AND ($3::text IS NULL OR id < $3)
        AND ($2::text IS NULL OR $2 IN ('finished', status))
    ORDER BY id DESC LIMIT $4
)
ORDER BY id DESC LIMIT $4
