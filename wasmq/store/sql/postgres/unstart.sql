-- Queues again jobs that were claimed in this transaction and have to wait for their accounts: as if they had not been.
UPDATE wasmq_jobs SET state = 'ready', attempt = attempt - 1, owner = NULL, claim = NULL
WHERE id = ANY ($1::text[])
