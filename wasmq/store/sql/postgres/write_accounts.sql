UPDATE wasmq_accounts AS a
SET granted = n.granted, spent = n.spent, reserved = n.reserved, running = n.running, memory = n.memory,
    refilled_at = n.refilled_at, fraction = n.fraction, pace = n.pace, paced_at = n.paced_at,
    pace_fraction = n.pace_fraction, held_until = n.held_until, look_again = n.look_again
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
            $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::double precision[], $13::double precision[])
    AS n (tenant, granted, spent, reserved, running, memory, refilled_at, fraction, pace, paced_at, pace_fraction,
          held_until, look_again)
WHERE a.tenant = n.tenant
