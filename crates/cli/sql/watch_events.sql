SELECT pg_catalog.jsonb_build_object(
    'id', e.id, 'at', e.at, 'event', e.event, 'severity', e.severity, 'operation_id', e.operation_id, 'node', e.node,
    'table_name', e.table_name, 'message', e.details ->> 'message', 'hint', e.details ->> 'hint')::text
FROM steep_repl.events e
WHERE e.id > $1 AND e.id <> ALL ($2::bigint[])
ORDER BY e.id DESC
LIMIT 300
