-- A failed attempt of the server's own worker at a table. The last one fails the task, until the operation is resumed.
WITH failed AS (
    UPDATE steep_repl.tasks t SET status = 'failed', attempts = t.attempts + 1, worker_pid = NULL, error = $3::jsonb
    WHERE t.operation_id = $1 AND t.relid = $2::oid AND t.kind = 'copy' AND $4 AND t.status <> 'done'
    RETURNING t.relid
)
UPDATE steep_repl.operation_tables o
SET attempts = o.attempts + 1, error = $3::jsonb,
    status = CASE WHEN o.relid IN (SELECT failed.relid FROM failed) THEN 'failed' ELSE o.status END
WHERE o.operation_id = $1 AND o.relid = $2::oid
