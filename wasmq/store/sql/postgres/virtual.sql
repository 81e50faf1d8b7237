-- Says how far the virtual time is here; answers how far it is anywhere.
WITH moved AS (
    UPDATE wasmq_virtual SET reached = $1 WHERE reached < $1 RETURNING reached
)
SELECT greatest(reached, $1) FROM wasmq_virtual
