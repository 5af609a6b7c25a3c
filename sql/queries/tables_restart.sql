WITH given AS (
    SELECT r.value::oid AS relid FROM pg_catalog.jsonb_array_elements_text($2::jsonb) AS r
), again AS (
    UPDATE steep_repl.tasks t
    SET status = 'pending', worker_pid = NULL, rows_done = 0, started_at = NULL, finished_at = NULL, not_before = '-infinity'
    FROM given g WHERE t.operation_id = $1 AND t.relid = g.relid AND t.kind = 'copy'
    RETURNING t.relid
)
UPDATE steep_repl.operation_tables o
SET status = 'waiting', rows_done = 0, bytes_done = 0, copies_left = a.copies
FROM (SELECT again.relid, count(*) AS copies FROM again GROUP BY again.relid) AS a
WHERE o.operation_id = $1 AND o.relid = a.relid
