-- Forgets the refuels of daemons that are gone, and long enough not to come back with one that they send again.
DELETE FROM wasmq_refuels AS r
WHERE r.at < clock_timestamp() - interval '1 day' AND NOT EXISTS (SELECT FROM wasmq_daemons AS d WHERE d.id = r.daemon)
