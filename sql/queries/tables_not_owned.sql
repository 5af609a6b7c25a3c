SELECT pg_catalog.to_jsonb(pg_catalog.format('%I.%I', n.nspname, c.relname))::text
FROM pg_catalog.jsonb_array_elements_text($1::jsonb) AS r
JOIN pg_catalog.pg_class c ON c.oid = r.value::oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE NOT pg_catalog.pg_has_role(c.relowner, 'USAGE')
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
