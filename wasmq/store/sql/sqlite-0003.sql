-- A tenant's jobs, in stretches of 4096 accepted jobs: new ones then go into the few pages of the last stretch, instead
-- of a page for each tenant all over the index.
DROP INDEX jobs_by_tenant;
CREATE INDEX jobs_by_stretch ON jobs (seq >> 12, tenant);
