-- Writes down what the server's own workers have done with the tables of an operation: a copy that is committed is a task that is done, and
-- a table is done when it is handed over and its worker is gone, whose statistics say by then how many rows are here.
WITH found AS MATERIALIZED (
    SELECT o.relid, pg_catalog.format('%I.%I', o.table_schema, o.table_name) AS name, o.table_name, o.status AS before, o.bytes_total, k.worker_pid AS pid_before,
           r.srsubstate AS state, w.pid, coalesce(c.tuples_processed, 0) AS rows,
           coalesce(r.srsubstate IN ('f', 's', 'r'), false) AS is_copied,
           coalesce(r.srsubstate IN ('s', 'r'), false) AND w.pid IS NULL AS is_through
    FROM steep_repl.operation_tables o
    JOIN steep_repl.tasks k ON k.operation_id = o.operation_id AND k.relid = o.relid AND k.kind = 'copy'
    LEFT JOIN pg_catalog.pg_subscription_rel r ON r.srsubid = $2::oid AND r.srrelid = o.relid
    LEFT JOIN pg_catalog.pg_stat_get_subscription(NULL) w ON w.subid = $2::oid AND w.relid = o.relid AND w.pid IS NOT NULL
    LEFT JOIN pg_catalog.pg_stat_progress_copy c ON c.pid = w.pid AND c.relid = o.relid
    WHERE o.operation_id = $1 AND o.status NOT IN ('done', 'failed') AND o.transport = 'server'
), copies AS (
    UPDATE steep_repl.tasks t
    SET status = CASE WHEN f.is_copied THEN 'done' WHEN f.pid IS NOT NULL THEN 'running' ELSE 'pending' END,
        worker_pid = f.pid,
        claims = t.claims + CASE WHEN f.pid <> coalesce(f.pid_before, 0) AND NOT f.is_copied THEN 1 ELSE 0 END,
        -- Rows of an attempt before this one are gone.
        rows_done = CASE WHEN f.is_copied OR f.pid = f.pid_before THEN greatest(t.rows_done, f.rows) ELSE f.rows END,
        started_at = coalesce(t.started_at, CASE WHEN f.pid IS NOT NULL OR f.is_copied THEN pg_catalog.clock_timestamp() END),
        finished_at = CASE WHEN f.is_copied THEN coalesce(t.finished_at, pg_catalog.clock_timestamp()) END
    FROM found f
    WHERE t.operation_id = $1 AND t.relid = f.relid AND t.kind = 'copy'
      AND (f.pid IS DISTINCT FROM f.pid_before OR f.rows > t.rows_done OR f.is_copied AND t.status <> 'done')
    RETURNING t.relid, t.rows_done
), tables AS (
    UPDATE steep_repl.operation_tables o
    SET status = CASE WHEN f.is_through THEN 'done' ELSE 'copying' END,
        copies_left = CASE WHEN f.is_copied THEN 0 ELSE o.copies_left END,
        rows_done = CASE WHEN f.is_through THEN greatest(o.rows_done, f.rows_done, pg_catalog.pg_stat_get_live_tuples(f.relid))
                         WHEN f.is_copied THEN greatest(o.rows_done, f.rows_done) ELSE 0 END,
        bytes_done = CASE WHEN f.is_copied THEN o.bytes_total ELSE 0 END,
        started_at = coalesce(o.started_at, pg_catalog.clock_timestamp()),
        copy_ms = CASE WHEN f.is_copied AND o.copies_left > 0
                       THEN 1000 * extract(epoch FROM pg_catalog.clock_timestamp() - coalesce(o.started_at, pg_catalog.clock_timestamp()))
                       ELSE o.copy_ms END,
        finished_at = CASE WHEN f.is_through THEN pg_catalog.clock_timestamp() END
    FROM (SELECT f.*, k.rows_done FROM found f LEFT JOIN copies k ON k.relid = f.relid) AS f
    WHERE o.operation_id = $1 AND o.relid = f.relid
      AND (f.is_through OR f.is_copied AND o.copies_left > 0 OR f.before = 'waiting' AND (f.pid IS NOT NULL OR f.state <> 'i'))
    RETURNING o.relid, o.rows_done, o.copy_ms
)
SELECT pg_catalog.jsonb_build_object(
    'relid', f.relid::bigint, 'name', f.name, 'table_name', f.table_name, 'state', f.state, 'pid', f.pid, 'pid_before', f.pid_before, 'bytes', f.bytes_total,
    'begins', f.before = 'waiting' AND t.relid IS NOT NULL, 'is_through', f.is_through, 'rows', coalesce(t.rows_done, 0),
    'ms', coalesce(t.copy_ms, 0))::text
FROM found f LEFT JOIN tables t ON t.relid = f.relid
-- Those that only wait for their turn are of no interest.
WHERE f.state IS DISTINCT FROM 'i' OR f.pid IS NOT NULL OR f.pid_before IS NOT NULL
ORDER BY f.bytes_total DESC, f.relid
