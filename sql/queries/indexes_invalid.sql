-- Keys that nothing can be looked up in. What an operation of the database that this one is a copy of has suspended is built anew.
SELECT pg_catalog.jsonb_build_object('name', pg_catalog.format('%I.%I of table %I.%I', n.nspname, x.relname, n.nspname, c.relname),
    'is_key', i.indisprimary OR i.indisreplident OR EXISTS (
        SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x')))::text
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE i.indrelid IN (SELECT r.value::oid FROM pg_catalog.jsonb_array_elements_text($1::jsonb) AS r)
  AND (i.indisunique OR i.indisexclusion OR i.indisreplident) AND NOT (i.indisvalid AND i.indisready)
  AND NOT EXISTS (SELECT FROM steep_repl.suspended_indexes s
                  WHERE s.index_oid = i.indexrelid AND s.relid = i.indrelid AND s.restored_at IS NULL)
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C", x.relname COLLATE "C"
