WITH done AS (
    UPDATE steep_repl.tasks t SET status = 'done', finished_at = pg_catalog.clock_timestamp()
    WHERE t.id = $1 AND t.status = 'running' AND t.worker_pid = pg_catalog.pg_backend_pid()
    RETURNING t.operation_id, t.relid, t.index_oid
), restored AS (
    UPDATE steep_repl.suspended_indexes s SET restored_at = pg_catalog.clock_timestamp()
    FROM done d WHERE s.operation_id = d.operation_id AND s.index_oid = d.index_oid
), counted AS (
    UPDATE steep_repl.operation_tables o
    SET indexes_left = o.indexes_left - 1,
        index_ms = o.index_ms + $2,
        status = CASE WHEN o.indexes_left > 1 THEN 'indexing' ELSE 'vacuuming' END
    FROM done d WHERE o.operation_id = d.operation_id AND o.relid = d.relid
    RETURNING o.operation_id, o.relid, o.indexes_left
), freed AS (
    UPDATE steep_repl.tasks t SET status = 'pending'
    FROM counted c
    WHERE c.indexes_left = 0 AND t.operation_id = c.operation_id AND t.relid = c.relid
      AND t.status = 'waiting' AND t.kind = 'vacuum'
    RETURNING t.id
)
SELECT pg_catalog.jsonb_build_object('finished', (SELECT count(*) FROM done), 'freed', (SELECT count(*) FROM freed))::text
