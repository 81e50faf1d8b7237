-- Between tenants only the tag counts; a tenant's own jobs go by priority, deadline and age.
ALTER TABLE wasmq_jobs ADD COLUMN deadline double precision;
DROP INDEX wasmq_jobs_ready;
CREATE INDEX wasmq_jobs_ready ON wasmq_jobs (ord, age) WHERE state = 'ready';
CREATE INDEX wasmq_jobs_lanes ON wasmq_jobs (tenant, ord, age) WHERE state = 'ready';
CREATE INDEX wasmq_jobs_ranked ON wasmq_jobs (tenant, priority DESC, deadline, age) WHERE state = 'ready';

-- How far a tenant's tags have moved since its waiting jobs were tagged, in fuel: what others of its jobs used beyond
-- what was expected of them. A tag of a row in wasmq_jobs is without it.
CREATE TABLE wasmq_shifts (
    tenant text COLLATE "C" PRIMARY KEY,
    shift double precision NOT NULL
) WITH (fillfactor = 50);
