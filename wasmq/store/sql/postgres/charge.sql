-- Charges tenants, in one order so that no two daemons wait for each other; answers their tags, and all others beyond
-- the virtual time. Who has no tag has not been beyond it. A round that was carried out before charges nobody.
WITH news AS (
    INSERT INTO wasmq_charged AS c (daemon, round)
    SELECT $4, $5 WHERE cardinality($1::text[]) > 0
    ON CONFLICT (daemon) DO UPDATE SET round = excluded.round, at = clock_timestamp() WHERE c.round < excluded.round
    RETURNING round
), charges AS (
    SELECT * FROM unnest($1::text[], $2::double precision[], $3::double precision[]) AS charges (tenant, charge, floor)
    WHERE EXISTS (SELECT FROM news)
), charged AS (
    INSERT INTO wasmq_tags AS t (tenant, finish, charge, floor)
    SELECT tenant, greatest(reached + charge, floor), charge, floor FROM charges, wasmq_virtual ORDER BY tenant
    ON CONFLICT (tenant) DO UPDATE SET
        finish = greatest(t.finish + excluded.charge, excluded.floor), charge = excluded.charge, floor = excluded.floor
    RETURNING tenant, finish
)
SELECT tenant, finish FROM charged
UNION ALL
SELECT tenant, finish FROM wasmq_tags
WHERE (finish > (SELECT reached FROM wasmq_virtual) OR tenant = ANY ($1::text[]))
    AND tenant NOT IN (SELECT tenant FROM charged)
