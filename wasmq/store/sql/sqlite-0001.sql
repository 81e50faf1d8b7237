-- Every job that is queued, running or still in the history.
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY,    -- the order in which jobs were accepted
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    key TEXT,                   -- its tenant's idempotency key
    status TEXT NOT NULL,       -- 'queued', 'running', or how it ended
    attempt INTEGER NOT NULL,   -- starts; never goes back
    returned INTEGER NOT NULL,  -- those of them that do not count
    ready_at REAL NOT NULL,     -- when it may start, in seconds since 1970
    body BLOB,                  -- call, limits and order as MessagePack; NULL when in inputs
    ended INTEGER,              -- the order in which jobs finished, without gaps; NULL until then
    finished_at REAL,           -- seconds since 1970
    outcome BLOB                -- as MessagePack, NULL when in outputs; until finished only room for it
);

CREATE UNIQUE INDEX jobs_by_key ON jobs (tenant, key) WHERE key IS NOT NULL;
CREATE INDEX jobs_by_tenant ON jobs (tenant);
-- Unfinished jobs are those at its beginning, the oldest of the history comes next.
CREATE INDEX jobs_by_end ON jobs (ended);
CREATE INDEX jobs_by_failure ON jobs (status) WHERE ended IS NOT NULL AND status <> 'succeeded';

-- What is large, out of the way of what is read and written all the time.
CREATE TABLE inputs (
    seq INTEGER PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
    body BLOB NOT NULL
);

CREATE TABLE outputs (
    seq INTEGER PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
    outcome BLOB NOT NULL
);

PRAGMA application_id = 2002875249;
