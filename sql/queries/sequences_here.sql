SELECT pg_catalog.jsonb_build_object('schema', n.nspname, 'name', c.relname, 'increment', s.seqincrement, 'relid', c.oid::bigint)::text
FROM pg_catalog.jsonb_to_recordset($1::jsonb) AS v (schema text, name text)
JOIN pg_catalog.pg_namespace n ON n.nspname = v.schema
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = v.name AND c.relkind = 'S'
JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid
