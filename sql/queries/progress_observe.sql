WITH counted AS (
    SELECT t.kind,
           count(*) AS tasks, coalesce(sum(t.bytes), 0) AS bytes,
           count(*) FILTER (WHERE t.status = 'done') AS tasks_done,
           coalesce(sum(t.bytes) FILTER (WHERE t.status = 'done'), 0) AS bytes_done,
           count(*) FILTER (WHERE t.status IN ('pending', 'running')) AS open,
           count(*) FILTER (WHERE t.status = 'failed') AS failed
    FROM steep_repl.tasks t WHERE t.operation_id = $1 GROUP BY t.kind
), running AS (
    SELECT t.kind, t.bytes, t.relid, t.worker_pid, o.transport = 'server' AS by_server,
           CASE WHEN o.bytes_total > 0 THEN o.rows_estimated * t.bytes / o.bytes_total ELSE o.rows_estimated END AS rows_estimated,
           coalesce(c.tuples_processed, 0) AS rows, coalesce(c.bytes_processed, 0) AS bytes_arrived,
           coalesce(CASE WHEN i.tuples_total > 0 THEN 0.5 + 0.5 * i.tuples_done / i.tuples_total
                         WHEN i.blocks_total > 0 THEN 0.5 * i.blocks_done / i.blocks_total END, 0) AS built,
           -- The names of our own wait while a stream is read, of the server's, and of the waits for answers in the server's libpq.
           coalesce(a.wait_event IN ('SteepReplReceive', 'LogicalSyncData', 'LibpqwalreceiverReceive'), false) AS receiving
    FROM steep_repl.tasks t
    JOIN steep_repl.operation_tables o ON o.operation_id = t.operation_id AND o.relid = t.relid
    LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = t.worker_pid
    LEFT JOIN pg_catalog.pg_stat_progress_copy c ON t.kind = 'copy' AND c.pid = t.worker_pid AND c.relid = t.relid
    LEFT JOIN pg_catalog.pg_stat_progress_create_index i ON t.kind = 'index' AND i.pid = t.worker_pid AND i.index_relid = t.index_oid
    WHERE t.operation_id = $1 AND t.status = 'running'
)
SELECT pg_catalog.jsonb_build_object(
    'copy', coalesce((SELECT pg_catalog.to_jsonb(c) FROM counted c WHERE c.kind = 'copy'), zero.counted),
    'index', coalesce((SELECT pg_catalog.to_jsonb(c) FROM counted c WHERE c.kind = 'index'), zero.counted),
    'vacuum', coalesce((SELECT pg_catalog.to_jsonb(c) FROM counted c WHERE c.kind = 'vacuum'), zero.counted),
    'verify', coalesce((SELECT pg_catalog.to_jsonb(c) FROM counted c WHERE c.kind = 'verify'), zero.counted),
    'copies_begun', (SELECT count(*) FROM steep_repl.tasks t
                     JOIN steep_repl.operation_tables o ON o.operation_id = t.operation_id AND o.relid = t.relid
                     WHERE t.operation_id = $1 AND t.kind = 'copy' AND t.status = 'pending' AND o.status <> 'waiting' AND o.transport <> 'server'),
    'own_copies_open', (SELECT count(*) FROM steep_repl.tasks t
                        JOIN steep_repl.operation_tables o ON o.operation_id = t.operation_id AND o.relid = t.relid
                        WHERE t.operation_id = $1 AND t.kind = 'copy' AND t.status IN ('pending', 'running') AND o.transport <> 'server'),
    'backup', coalesce((SELECT pg_catalog.jsonb_build_array(b.bytes_done, b.bytes_total) FROM steep_repl.base_backups b WHERE b.operation_id = $1), '[0, 0]'::jsonb),
    'rows_done', coalesce((SELECT sum(o.rows_done) FROM steep_repl.operation_tables o WHERE o.operation_id = $1), 0),
    'running', coalesce((SELECT pg_catalog.jsonb_agg(pg_catalog.to_jsonb(r)) FROM running r), '[]'::jsonb))::text
FROM (SELECT '{"tasks": 0, "bytes": 0, "tasks_done": 0, "bytes_done": 0, "open": 0, "failed": 0}'::jsonb AS counted) AS zero
