-- Notes how far a schedule has come; it never goes back.
INSERT INTO wasmq_periodic (name, fired) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET fired = excluded.fired WHERE wasmq_periodic.fired < excluded.fired
