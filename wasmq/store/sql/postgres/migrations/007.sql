-- The modules that each tenant has loaded, and in the name of '' those that everybody has.
CREATE TABLE wasmq_loaded (
    tenant text COLLATE "C" NOT NULL,
    digest text COLLATE "C" NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, digest)
);
CREATE INDEX wasmq_loaded_by_time ON wasmq_loaded (tenant, noted_at);
