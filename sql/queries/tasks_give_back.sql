WITH given AS (
    UPDATE steep_repl.tasks t
    SET status = CASE WHEN $4 THEN 'failed' ELSE 'pending' END,
        attempts = t.attempts + CASE WHEN $3 THEN 1 ELSE 0 END,
        not_before = pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => $5),
        worker_pid = NULL,
        error = $2::jsonb
    WHERE t.id IN (SELECT r.value::bigint FROM pg_catalog.jsonb_array_elements_text($1::jsonb) AS r) AND t.status = 'running'
    RETURNING t.operation_id, t.relid
)
UPDATE steep_repl.operation_tables o
SET attempts = o.attempts + CASE WHEN $3 THEN 1 ELSE 0 END,
    error = $2::jsonb,
    -- One that is put aside stays so: its other chunks fail by the same change.
    status = CASE WHEN $4 AND o.status <> 'deferred' THEN 'failed' ELSE o.status END
FROM given g WHERE o.operation_id = g.operation_id AND o.relid = g.relid
