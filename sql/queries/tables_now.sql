SELECT pg_catalog.jsonb_build_array(c.oid::bigint, n.nspname, c.relname)::text
FROM pg_catalog.jsonb_array_elements_text($1::jsonb) WITH ORDINALITY AS r (value, place)
JOIN pg_catalog.pg_class c ON c.oid = r.value::oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
ORDER BY r.place
