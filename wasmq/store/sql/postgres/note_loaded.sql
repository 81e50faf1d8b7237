-- Notes that a tenant has loaded a module, and forgets its oldest ones beyond the number that is kept.
WITH noted AS (
    INSERT INTO wasmq_loaded (tenant, digest) VALUES ($1, $2)
    ON CONFLICT (tenant, digest) DO UPDATE SET noted_at = clock_timestamp()
)
DELETE FROM wasmq_loaded WHERE tenant = $1 AND digest IN (
    SELECT digest FROM wasmq_loaded WHERE tenant = $1 AND digest <> $2 ORDER BY noted_at DESC OFFSET $3::bigint - 1
)
