UPDATE steep_repl.operations
SET status = $2,
    error = $3::jsonb,
    phase = CASE WHEN $2 = 'completed' THEN 'done' ELSE phase END,
    overall_percent = CASE WHEN $2 = 'completed' THEN 100 ELSE overall_percent END,
    eta = NULL,
    rows_per_second = NULL,
    bytes_per_second = NULL,
    workers_active = 0,
    updated_at = pg_catalog.clock_timestamp(),
    finished_at = CASE WHEN $2 IN ('completed', 'cancelled', 'failed') THEN pg_catalog.clock_timestamp() END
WHERE id = $1 AND (status <> 'cancelling' OR $2 = 'cancelled')
RETURNING id::text
