SELECT id, state, owner FROM wasmq_jobs WHERE id = ANY ($1::text[]) ORDER BY id FOR UPDATE
