-- Tenants' fuel accounts: see wasmq/ledger.py. Fuel, bytes, and instants in microseconds since 1970.
CREATE TABLE accounts (
    tenant TEXT PRIMARY KEY,
    granted INTEGER NOT NULL,
    spent INTEGER NOT NULL,
    reserved INTEGER NOT NULL,
    running INTEGER NOT NULL,
    memory INTEGER NOT NULL,
    refilled_at INTEGER,        -- NULL before the budget was opened
    fraction INTEGER NOT NULL,
    pace INTEGER NOT NULL,
    paced_at INTEGER,
    pace_fraction INTEGER NOT NULL
) WITHOUT ROWID;

-- What running jobs hold of their tenants' accounts.
CREATE TABLE holds (
    seq INTEGER PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
    fuel INTEGER NOT NULL,
    memory INTEGER NOT NULL,
    pace INTEGER NOT NULL
);

-- Credits that were given under a key, for as long as the key is to be known.
CREATE TABLE credits (
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    fuel INTEGER NOT NULL,
    credited_at REAL NOT NULL,  -- seconds since 1970
    PRIMARY KEY (tenant, key)
) WITHOUT ROWID;
