UPDATE steep_repl.operations
SET rows_done = greatest(rows_done, $2),
    bytes_done = greatest(bytes_done, $3),
    rows_per_second = $4,
    bytes_per_second = $5,
    overall_percent = greatest(overall_percent, least($6, 99)),
    eta = CASE WHEN $7 IS NOT NULL THEN pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => $7) END,
    lag_bytes = $8,
    workers_active = $9::integer,
    updated_at = pg_catalog.clock_timestamp()
WHERE id = $1
