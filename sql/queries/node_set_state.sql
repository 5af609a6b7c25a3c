UPDATE steep_repl.nodes
SET state = $2,
    source = coalesce($3, source),
    last_error = $4::jsonb,
    health = CASE WHEN $4 IS NULL THEN 'ok' ELSE 'error' END,
    updated_at = pg_catalog.clock_timestamp()
WHERE node = $1
