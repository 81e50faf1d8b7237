-- Tags behind the virtual time of tenants without jobs say nothing. Those that are being charged just now stay.
DELETE FROM wasmq_tags WHERE ctid = ANY (ARRAY(
    SELECT t.ctid FROM wasmq_tags AS t
    WHERE t.finish <= (SELECT reached FROM wasmq_virtual)
        AND NOT EXISTS (SELECT FROM wasmq_jobs AS j WHERE j.tenant = t.tenant)
    FOR UPDATE OF t SKIP LOCKED
))
