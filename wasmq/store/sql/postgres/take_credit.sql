-- Takes a key for a credit; no row when it has been taken before.
INSERT INTO wasmq_credits (tenant, key, fuel) VALUES ($1, $2, $3)
ON CONFLICT (tenant, key) DO NOTHING
RETURNING fuel
