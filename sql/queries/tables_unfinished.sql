SELECT pg_catalog.jsonb_build_object(
    'relid', o.relid::bigint, 'table_schema', o.table_schema, 'table_name', o.table_name, 'source_relid', o.source_relid::bigint,
    'touched', EXISTS (SELECT FROM steep_repl.tasks t WHERE t.operation_id = o.operation_id AND t.relid = o.relid
                       AND t.kind = 'copy' AND t.claims > 0)
               OR EXISTS (SELECT FROM steep_repl.suspended_indexes s WHERE s.operation_id = o.operation_id AND s.relid = o.relid
                          AND s.restored_at IS NOT NULL),
    'transport', o.transport, 'deferred', o.status = 'deferred', 'deferrals', o.deferrals)::text
FROM steep_repl.operation_tables o WHERE o.operation_id = $1 AND o.copies_left > 0 ORDER BY o.ordinal
