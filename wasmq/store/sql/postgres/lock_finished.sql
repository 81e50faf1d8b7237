SELECT id, owner, status, recorded_at >= $2 AS since FROM wasmq_finished WHERE id = ANY ($1::text[])
