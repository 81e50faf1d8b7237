-- Which of some modules a tenant has loaded, or everybody has.
SELECT DISTINCT digest FROM wasmq_loaded WHERE tenant IN ($1, '') AND digest = ANY ($2::text[])
