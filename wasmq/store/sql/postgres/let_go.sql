-- Takes from jobs what they hold: whoever gets it gives it back to the account, once.
DELETE FROM wasmq_holds WHERE id = ANY ($1::text[]) RETURNING id, tenant, fuel, memory, pace
