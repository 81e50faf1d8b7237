-- Forgets finished jobs beyond the number and the age that are kept, the oldest first, with their keys.
WITH bound AS (
    SELECT coalesce((SELECT place FROM wasmq_finished ORDER BY place DESC OFFSET $1 LIMIT 1), 0) AS place
), oldest AS (
    SELECT id, place, finished_at, recorded_at FROM wasmq_finished ORDER BY place LIMIT $3
), gone AS (
    DELETE FROM wasmq_finished AS f USING oldest, bound
    WHERE f.id = oldest.id AND (oldest.place <= bound.place OR oldest.finished_at < $2)
        AND oldest.recorded_at <= clock_timestamp() - $4::double precision * interval '1 second'
    RETURNING f.tenant, f.key, f.id
), keys AS (
    DELETE FROM wasmq_keys AS k USING gone WHERE k.tenant = gone.tenant AND k.key = gone.key AND k.id = gone.id
)
SELECT count(*) FROM gone
