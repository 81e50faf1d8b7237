-- Of each tenant with an account: whether it has to wait, how many of its jobs are ready (no more than $2 are counted),
-- and whether any was set aside.
SELECT a.tenant, coalesce(a.look_again > $1, false) AS waits, (
    SELECT count(*) FROM (SELECT FROM wasmq_jobs AS j WHERE j.state = 'ready' AND j.tenant = a.tenant LIMIT $2) AS firsts
) AS ready, EXISTS (SELECT FROM wasmq_jobs AS j WHERE j.state = 'held' AND j.tenant = a.tenant) AS aside
FROM wasmq_accounts AS a
