UPDATE wasmq_jobs SET unwanted = true WHERE id = ANY ($1::text[]) AND NOT unwanted
