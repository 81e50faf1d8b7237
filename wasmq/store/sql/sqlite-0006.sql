-- The modules that each tenant has loaded, and in the name of '' those that everybody has.
CREATE TABLE loaded (
    tenant TEXT NOT NULL,
    digest TEXT NOT NULL,
    noted_at REAL NOT NULL,     -- seconds since 1970
    PRIMARY KEY (tenant, digest)
) WITHOUT ROWID;

CREATE INDEX loaded_by_time ON loaded (tenant, noted_at);
