-- Notes what jobs hold that have been started, or whose caps have been raised.
INSERT INTO wasmq_holds (id, tenant, fuel, memory, pace)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
ON CONFLICT (id) DO UPDATE SET fuel = excluded.fuel, memory = excluded.memory, pace = excluded.pace
