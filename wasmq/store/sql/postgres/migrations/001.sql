-- Jobs that are queued or running. A row is small, is written three times (put, claim, finish) and is gone when its job
-- has finished, so that the table stays as large as the queue however long the history is.
CREATE TABLE wasmq_jobs (
    id text COLLATE "C" PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL,
    key text COLLATE "C",
    -- 'delayed' waits for its time, 'ready' for a daemon; 'running' belongs to the daemon `owner`.
    state text COLLATE "C" NOT NULL CHECK (state IN ('delayed', 'ready', 'running')),
    priority integer NOT NULL,
    ord double precision NOT NULL,
    age bigint GENERATED ALWAYS AS IDENTITY,
    -- When it could or can start, in seconds on the wall clock of the daemon that said so.
    ready_at double precision NOT NULL,
    attempt integer NOT NULL DEFAULT 0,
    returned integer NOT NULL DEFAULT 0,
    owner bigint,
    -- Which of its owner's claims took it: a claim whose answer was lost is undone by this number.
    claim bigint,
    unwanted boolean NOT NULL DEFAULT false,
    body bytea NOT NULL
) WITH (
    -- Half of each page is kept free: the next version of a row then fits beside it, and a claim dirties one page of the
    -- table instead of two.
    fillfactor = 50,
    -- Every job leaves three dead versions. With the server's own setting (a fifth of the table) vacuum would come too
    -- rarely for a long queue, and claims would walk over the dead entries of the index; so it comes after a fixed number.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 20000,
    autovacuum_vacuum_cost_delay = 0
);
-- Long arguments go to the side table as they are: claiming a row leaves them where they are, and compressing what a
-- guest is to be given would cost the server more than the disk is worth.
ALTER TABLE wasmq_jobs ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE INDEX wasmq_jobs_ready ON wasmq_jobs (priority DESC, ord, age) WHERE state = 'ready';
CREATE INDEX wasmq_jobs_delayed ON wasmq_jobs (ready_at) WHERE state = 'delayed';
CREATE INDEX wasmq_jobs_running ON wasmq_jobs (owner) WHERE state = 'running';
CREATE INDEX wasmq_jobs_unwanted ON wasmq_jobs (owner) WHERE unwanted;

-- The history. Outcomes may be large (stdout and stderr), and stand in this table's own side table when they are: more
-- than about 2 KB is stored outside the row, uncompressed, so that pages of small outcomes stay dense and reading a
-- part needs no unpacking.
CREATE TABLE wasmq_finished (
    id text COLLATE "C" PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL,
    key text COLLATE "C",
    status text COLLATE "C" NOT NULL,
    -- The order of finishing, which is the order of forgetting.
    place bigint GENERATED ALWAYS AS IDENTITY,
    -- By the wall clock of the daemon that recorded it.
    finished_at double precision NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempt integer NOT NULL,
    returned integer NOT NULL,
    -- The daemon that recorded it.
    owner bigint NOT NULL,
    body bytea NOT NULL,
    outcome bytea NOT NULL
) WITH (
    -- Rows are only added at one end and deleted at the other.
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0
);
ALTER TABLE wasmq_finished ALTER COLUMN body SET STORAGE EXTERNAL, ALTER COLUMN outcome SET STORAGE EXTERNAL;
CREATE INDEX wasmq_finished_place ON wasmq_finished (place);

-- Idempotency keys, of jobs in either table.
CREATE TABLE wasmq_keys (
    tenant text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, key)
);

-- Who runs jobs: the lease of a daemon is the lease of all the jobs that it runs. By this server's clock.
CREATE TABLE wasmq_daemons (
    id bigint PRIMARY KEY,
    name text NOT NULL,
    lapses_at timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE wasmq_modules (
    digest text COLLATE "C" PRIMARY KEY,
    wasm bytea NOT NULL,
    added_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE wasmq_modules ALTER COLUMN wasm SET STORAGE EXTERNAL;

-- How far the virtual time of fairness is, in fuel: the largest tag of a job that has started.
CREATE TABLE wasmq_virtual (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    reached double precision NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
INSERT INTO wasmq_virtual DEFAULT VALUES;
