-- How far each periodic schedule has come: the time of its last firing, in seconds since 1970.
CREATE TABLE wasmq_periodic (
    name text COLLATE "C" PRIMARY KEY,
    fired double precision NOT NULL
) WITH (fillfactor = 50);
