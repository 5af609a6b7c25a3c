WITH done AS (
    UPDATE steep_repl.tasks t
    SET status = 'done', rows_done = coalesce($2, 0), finished_at = pg_catalog.clock_timestamp()
    WHERE t.id = $1 AND t.status = 'running' AND t.worker_pid = pg_catalog.pg_backend_pid()
    RETURNING t.operation_id, t.relid
)
UPDATE steep_repl.operation_tables o
SET status = 'done', rows_done = coalesce($2, 0), bytes_done = o.bytes_total, copy_ms = $3, finished_at = pg_catalog.clock_timestamp(),
    error = NULL
FROM done d WHERE o.operation_id = d.operation_id AND o.relid = d.relid
