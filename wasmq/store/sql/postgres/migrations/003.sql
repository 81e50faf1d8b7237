-- Tenants' finish tags, in fuel: those of tenants with jobs, and those that are beyond the virtual time.
CREATE TABLE wasmq_tags (
    tenant text COLLATE "C" PRIMARY KEY,
    finish double precision NOT NULL,
    -- What was done to it last: it became greatest(finish + charge, floor).
    charge double precision NOT NULL,
    floor double precision NOT NULL
) WITH (fillfactor = 50);
