SELECT pg_catalog.jsonb_build_object(
    'status', o.status, 'state', coalesce(n.state, 'UNINITIALIZED'), 'phase', o.phase, 'overall_percent', o.overall_percent,
    'tables_done', (SELECT count(*) FROM steep_repl.operation_tables t WHERE t.operation_id = o.id AND t.status = 'done'),
    'tables_total', (SELECT count(*) FROM steep_repl.operation_tables t WHERE t.operation_id = o.id),
    'eta_seconds', extract(epoch FROM o.eta - pg_catalog.clock_timestamp()), 'lag_bytes', o.lag_bytes, 'error', o.error)::text
FROM steep_repl.operations o LEFT JOIN steep_repl.nodes n ON n.node = o.node
WHERE o.id = $1
