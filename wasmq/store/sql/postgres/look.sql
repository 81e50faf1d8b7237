SELECT tenant, state, count(*) AS jobs, min(ready_at) AS oldest FROM wasmq_jobs GROUP BY tenant, state
