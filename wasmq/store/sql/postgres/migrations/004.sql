-- Between tenants only the tag counts; a tenant's own jobs go by priority, deadline and age.
ALTER TABLE wasmq_jobs ADD COLUMN deadline double precision;
DROP INDEX wasmq_jobs_ready;
CREATE INDEX wasmq_jobs_ready ON wasmq_jobs (ord, age) WHERE state = 'ready';
CREATE INDEX wasmq_jobs_ranked ON wasmq_jobs (tenant, priority DESC, deadline, age) WHERE state = 'ready';
