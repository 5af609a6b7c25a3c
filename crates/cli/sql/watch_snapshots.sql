SELECT pg_catalog.to_jsonb(s)::text FROM steep_repl.snapshots s ORDER BY s.operation_id DESC LIMIT 100
