DELETE FROM wasmq_daemons WHERE id = $1
