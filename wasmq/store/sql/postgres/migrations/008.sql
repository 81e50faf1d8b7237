-- What a running job has been refuelled to by a daemon that does not run it, for its own to see; NULL when that is told.
ALTER TABLE wasmq_jobs ADD COLUMN refuelled bigint;
CREATE INDEX wasmq_jobs_refuelled ON wasmq_jobs (owner) WHERE refuelled IS NOT NULL;

-- Which of its refuels each daemon has had carried out last: one that is sent again does not count twice.
CREATE TABLE wasmq_refuels (
    daemon bigint PRIMARY KEY,
    number bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
