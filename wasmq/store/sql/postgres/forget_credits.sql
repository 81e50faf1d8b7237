DELETE FROM wasmq_credits WHERE credited_at < clock_timestamp() - $1::double precision * interval '1 second'
