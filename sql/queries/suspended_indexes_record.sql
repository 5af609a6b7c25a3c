INSERT INTO steep_repl.suspended_indexes (operation_id, index_oid, relid, index_schema, index_name, definition,
                                          constraint_name, constraint_def, is_unique)
SELECT $1, i.indexrelid, i.indrelid, n.nspname, c.relname, pg_catalog.pg_get_indexdef(i.indexrelid),
       k.conname, pg_catalog.pg_get_constraintdef(k.oid), i.indisunique
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x')
WHERE i.indrelid IN (SELECT r.value::oid FROM pg_catalog.jsonb_array_elements_text($2::jsonb) AS r)
  AND i.indislive
  -- What was suspended before this database was copied from another one has come along as it was.
  AND (i.indisvalid AND i.indisready
       OR EXISTS (SELECT FROM steep_repl.suspended_indexes s
                  WHERE s.index_oid = i.indexrelid AND s.relid = i.indrelid AND s.restored_at IS NULL))
ON CONFLICT (operation_id, index_oid) DO UPDATE SET restored_at = NULL
RETURNING pg_catalog.jsonb_build_object('index_oid', index_oid::bigint, 'relid', relid::bigint)::text
