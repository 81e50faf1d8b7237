SELECT tenant, granted, spent, reserved, running, memory, refilled_at, fraction, pace, paced_at, pace_fraction,
    held_until, extract(epoch FROM clock_timestamp())::double precision AS now
FROM wasmq_accounts WHERE $1::text IS NULL OR tenant = $1
