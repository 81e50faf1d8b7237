-- Raises a running job's cap, and notes that for its daemon, if that is to be told of it.
WITH noted AS (
    INSERT INTO wasmq_refuels AS r (daemon, number) VALUES ($4, $5)
    ON CONFLICT (daemon) DO UPDATE SET number = excluded.number, at = clock_timestamp()
)
UPDATE wasmq_jobs SET body = $2, refuelled = coalesce($3, refuelled) WHERE id = $1
