SELECT p.operation_id, p.node, p.source, p.kind, p.method, n.operation_status AS status, p.state, p.rows_done, p.bytes_done,
       extract(epoch FROM p.updated_at - p.started_at) AS duration_seconds, p.lag_bytes,
       CASE WHEN n.operation_status = 'failed' THEN n.sqlstate END AS sqlstate,
       CASE WHEN n.operation_status = 'failed' THEN n.last_error END AS message,
       CASE WHEN n.operation_status = 'failed' THEN n.detail END AS detail,
       CASE WHEN n.operation_status = 'failed' THEN n.hint END AS hint
FROM steep_repl.init_progress p
JOIN steep_repl.node_status n ON n.node = p.node
WHERE p.node = $1
