-- What somebody has given up meanwhile does not come back.
INSERT INTO steep_repl.cleanup (operation_id, kind, attempts, next_try, error)
SELECT o.id, $2, 1, pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => $4), $3::jsonb
FROM steep_repl.operations o
WHERE o.id = $1 AND (o.status = 'cancelling'
                     OR EXISTS (SELECT FROM steep_repl.cleanup c WHERE c.operation_id = $1 AND c.kind = $2))
ON CONFLICT (operation_id, kind) DO UPDATE
SET attempts = cleanup.attempts + 1, next_try = EXCLUDED.next_try, error = EXCLUDED.error
