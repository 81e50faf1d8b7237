-- Strikes off daemons whose lease has lapsed. One that renews at this moment is waited for and spared.
DELETE FROM wasmq_daemons WHERE lapses_at < clock_timestamp() AND id <> $1 RETURNING id, name
