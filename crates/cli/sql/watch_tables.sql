WITH t AS MATERIALIZED (
    SELECT t.table_schema, t.table_name, t.status, t.percent, t.rows_done, t.bytes_done, t.bytes_total, t.attempts, t.copy_ms, t.index_ms, t.error,
           t.finished_at
    FROM steep_repl.table_progress t
    WHERE t.operation_id = $1),
shown AS (
    (SELECT 'active' AS part, t.* FROM t WHERE t.status IN ('copying', 'indexing', 'vacuuming') LIMIT 64)
    UNION ALL
    (SELECT 'waiting', t.* FROM t WHERE t.status IN ('waiting', 'deferred', 'failed') ORDER BY t.status <> 'failed' LIMIT 100)
    UNION ALL
    (SELECT 'finished', t.* FROM t WHERE t.status = 'done' ORDER BY t.finished_at DESC NULLS LAST LIMIT 100)),
parts AS (
    SELECT h.part, pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
        'name', pg_catalog.format('%I.%I', h.table_schema, h.table_name), 'status', h.status, 'percent', h.percent, 'rows_done', h.rows_done,
        'bytes_done', h.bytes_done, 'bytes_total', h.bytes_total, 'attempts', h.attempts, 'copy_ms', h.copy_ms, 'index_ms', h.index_ms,
        'error', h.error)) AS rows
    FROM shown h GROUP BY h.part)
SELECT pg_catalog.jsonb_build_object(
    'operation_id', $1::bigint,
    'counts', coalesce((SELECT pg_catalog.jsonb_object_agg(c.status, c.n) FROM (SELECT t.status, count(*) FROM t GROUP BY t.status) c (status, n)), '{}'),
    'active', coalesce((SELECT p.rows FROM parts p WHERE p.part = 'active'), '[]'),
    'waiting', coalesce((SELECT p.rows FROM parts p WHERE p.part = 'waiting'), '[]'),
    'finished', coalesce((SELECT p.rows FROM parts p WHERE p.part = 'finished'), '[]'))::text
