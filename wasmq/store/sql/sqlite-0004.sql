-- The start tag that a job has now, in fuel of virtual time; NULL is the one that it was put with, which its body says.
ALTER TABLE jobs ADD COLUMN ord REAL;
