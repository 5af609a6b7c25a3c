INSERT INTO steep_repl.events (event, severity, operation_id, node, source, table_name, details)
SELECT e.value ->> 'event', e.value ->> 'severity', (e.value ->> 'operation_id')::bigint, e.value ->> 'node',
       e.value ->> 'source', e.value ->> 'table', e.value
FROM pg_catalog.jsonb_array_elements($1::jsonb) WITH ORDINALITY AS e (value, place) ORDER BY e.place
