SELECT p.operation_id, p.node, p.source, p.kind, p.method, p.state, p.phase, p.overall_percent, p.tables_total, p.tables_done,
       p.current_tables, p.rows_done, p.bytes_done, p.bytes_total, p.rows_per_second, p.bytes_per_second, p.workers_active,
       p.workers_planned, p.started_at, p.updated_at, p.eta,
       CASE WHEN p.eta IS NOT NULL THEN greatest(extract(epoch FROM p.eta - pg_catalog.clock_timestamp()), 0) END AS eta_seconds, p.lag_bytes, p.error,
       p.generation_percent, p.application_percent
FROM steep_repl.init_progress p
ORDER BY p.node
