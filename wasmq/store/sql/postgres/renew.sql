-- Renews the lease of a daemon and with it those of all its jobs. `fresh` says that it had none any more.
INSERT INTO wasmq_daemons AS d (id, name, lapses_at)
VALUES ($1, $2, clock_timestamp() + $3::double precision * interval '1 second')
ON CONFLICT (id) DO UPDATE SET lapses_at = excluded.lapses_at
RETURNING (xmax = 0) AS fresh, (
    SELECT count(*) FROM wasmq_daemons AS other WHERE other.id <> $1 AND other.lapses_at >= clock_timestamp()
) AS others
