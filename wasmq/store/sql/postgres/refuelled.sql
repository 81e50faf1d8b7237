-- Whether a daemon's refuel has been carried out.
SELECT EXISTS (SELECT FROM wasmq_refuels WHERE daemon = $1 AND number >= $2)
