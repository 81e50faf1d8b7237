-- Takes keys for jobs, in an order in which two daemons cannot wait for each other; answers which it got.
WITH wanted AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (tenant, key, id) ORDER BY tenant, key
), taken AS (
    INSERT INTO wasmq_keys (tenant, key, id) SELECT tenant, key, id FROM wanted
    ON CONFLICT (tenant, key) DO NOTHING
    RETURNING tenant, key, id
)
SELECT tenant, key, id FROM taken
