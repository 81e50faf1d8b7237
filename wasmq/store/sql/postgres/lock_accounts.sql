-- Locks accounts, in the same order everywhere. The time is read row by row, each after its lock was had: an earlier
-- one would look like a clock that has stepped back.
WITH locked AS MATERIALIZED (
    SELECT * FROM wasmq_accounts WHERE tenant = ANY ($1::text[]) ORDER BY tenant FOR UPDATE
)
SELECT tenant, granted, spent, reserved, running, memory, refilled_at, fraction, pace, paced_at, pace_fraction,
    held_until, extract(epoch FROM clock_timestamp())::double precision AS now
FROM locked
