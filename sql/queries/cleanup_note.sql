INSERT INTO steep_repl.cleanup (operation_id, kind, attempts, next_try, error)
VALUES ($1, $2, 1, pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => $4), $3::jsonb)
ON CONFLICT (operation_id, kind) DO UPDATE
SET attempts = cleanup.attempts + 1, next_try = EXCLUDED.next_try, error = EXCLUDED.error
