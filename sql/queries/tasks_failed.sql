SELECT pg_catalog.jsonb_build_object(
    'relid', t.relid::bigint, 'table', pg_catalog.format('%I.%I', o.table_schema, o.table_name), 'kind', t.kind, 'transport', o.transport, 'error', t.error)::text
FROM steep_repl.tasks t
JOIN steep_repl.operation_tables o ON o.operation_id = t.operation_id AND o.relid = t.relid
WHERE t.operation_id = $1 AND t.status = 'failed' ORDER BY t.id LIMIT 1
