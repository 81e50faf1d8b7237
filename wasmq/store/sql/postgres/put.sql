-- Puts jobs. Those that are there, or have been, are not put again: the answer to an earlier try was lost.
INSERT INTO wasmq_jobs (id, tenant, key, priority, ord, ready_at, state, body, deadline)
SELECT put.id, put.tenant, put.key, put.priority, put.ord - coalesce(s.shift, 0), put.ready_at, put.state, put.body, put.deadline
FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::double precision[], $6::double precision[],
            $7::text[], $8::bytea[], $9::double precision[])
    WITH ORDINALITY AS put (id, tenant, key, priority, ord, ready_at, state, body, deadline, n)
LEFT JOIN wasmq_shifts AS s USING (tenant)
WHERE NOT EXISTS (SELECT FROM wasmq_finished AS f WHERE f.id = put.id)
ORDER BY put.n
ON CONFLICT (id) DO NOTHING
