-- What there is to do, by tenant, and whether priorities or deadlines have a say in it.
SELECT tenant, state, count(*) AS jobs, min(ready_at) AS oldest,
    bool_or(priority <> 0 OR deadline IS NOT NULL) AS ranked
FROM wasmq_jobs GROUP BY tenant, state
