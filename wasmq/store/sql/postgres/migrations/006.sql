-- Which of its rounds of charges each daemon has had carried out last: one that is sent again does not count twice.
CREATE TABLE wasmq_charged (
    daemon bigint PRIMARY KEY,
    round bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
