-- Forgets caps that the jobs' daemon has heard of, unless they have been raised again since.
UPDATE wasmq_jobs AS j SET refuelled = NULL
FROM unnest($1::text[], $2::bigint[]) AS told (id, refuelled)
WHERE j.id = told.id AND j.refuelled = told.refuelled AND j.owner = $3
