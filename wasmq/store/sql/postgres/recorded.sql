-- Which of these ends this daemon has recorded: asked when the answer to a finish was lost.
SELECT f.id, f.attempt
FROM unnest($1::text[], $2::integer[]) AS ended (id, attempt)
JOIN wasmq_finished AS f ON f.id = ended.id AND f.attempt = ended.attempt
WHERE f.owner = $3
