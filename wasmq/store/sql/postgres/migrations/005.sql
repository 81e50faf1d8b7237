-- Tenants' fuel accounts: see wasmq/ledger.py. Fuel, bytes, and instants in microseconds since 1970 by this server's
-- clock, so that daemons whose clocks differ do not refill an account twice.
CREATE TABLE wasmq_accounts (
    tenant text COLLATE "C" PRIMARY KEY,
    granted bigint NOT NULL DEFAULT 0,
    spent bigint NOT NULL DEFAULT 0,
    reserved bigint NOT NULL DEFAULT 0,
    running bigint NOT NULL DEFAULT 0,
    memory bigint NOT NULL DEFAULT 0,
    -- NULL before the budget was opened.
    refilled_at bigint,
    fraction bigint NOT NULL DEFAULT 0,
    pace bigint NOT NULL DEFAULT 0,
    paced_at bigint,
    pace_fraction bigint NOT NULL DEFAULT 0,
    -- Until when the tenant's next job waits for the account, and until when claims pass over its jobs: by the wall clock
    -- of the daemon that said so, NULL when there is nothing to wait for.
    held_until double precision,
    look_again double precision
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- What running jobs hold of their tenants' accounts.
CREATE TABLE wasmq_holds (
    id text COLLATE "C" PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL,
    fuel bigint NOT NULL,
    memory bigint NOT NULL,
    pace bigint NOT NULL
) WITH (
    -- Comes and goes with each start of a job, as the rows of wasmq_jobs do.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_vacuum_cost_delay = 0
);

-- Credits that were given under a key, for as long as the key is to be known.
CREATE TABLE wasmq_credits (
    tenant text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    fuel bigint NOT NULL,
    credited_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, key)
);

-- Of a tenant that has to wait for its account only the first jobs stay 'ready': the others are 'held' out of the way, or
-- each claim would walk over all of them.
ALTER TABLE wasmq_jobs DROP CONSTRAINT wasmq_jobs_state_check;
ALTER TABLE wasmq_jobs ADD CONSTRAINT wasmq_jobs_state_check
    CHECK (state IN ('delayed', 'ready', 'held', 'running'));
CREATE INDEX wasmq_jobs_held ON wasmq_jobs (tenant, priority DESC, deadline, age) WHERE state = 'held';
