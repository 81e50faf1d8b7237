-- Makes the accounts that are not there yet, in an order in which two daemons cannot wait for each other.
INSERT INTO wasmq_accounts (tenant) SELECT tenant FROM unnest($1::text[]) AS named (tenant) ORDER BY tenant
ON CONFLICT (tenant) DO NOTHING
