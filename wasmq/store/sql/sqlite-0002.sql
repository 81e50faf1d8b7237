-- How far each periodic schedule has come: the time of its last firing, in seconds since 1970.
CREATE TABLE periodic (
    name TEXT PRIMARY KEY,
    fired REAL NOT NULL
) WITHOUT ROWID;
