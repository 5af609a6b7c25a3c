-- All tasks of the tables begin anew: copies can be taken, index builds and vacuums wait for them.
WITH given AS (
    SELECT r.value::oid AS relid FROM pg_catalog.jsonb_array_elements_text($2::jsonb) AS r
), again AS (
    UPDATE steep_repl.tasks t
    SET status = CASE WHEN t.kind = 'copy' THEN 'pending' ELSE 'waiting' END,
        worker_pid = NULL, claims = 0, rows_done = 0, started_at = NULL, finished_at = NULL, not_before = '-infinity'
    FROM given g WHERE t.operation_id = $1 AND t.relid = g.relid
    RETURNING t.relid, t.kind
)
UPDATE steep_repl.operation_tables o
SET status = 'waiting', frozen = true, rows_done = 0, bytes_done = 0, finished_at = NULL, source_filenode = NULL, source_natts = NULL,
    copies_left = a.copies, indexes_left = a.indexes
FROM (SELECT again.relid, count(*) FILTER (WHERE again.kind = 'copy') AS copies,
             count(*) FILTER (WHERE again.kind = 'index') AS indexes
      FROM again GROUP BY again.relid) AS a
WHERE o.operation_id = $1 AND o.relid = a.relid
