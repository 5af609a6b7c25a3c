SELECT pg_catalog.jsonb_build_object('index_oid', s.index_oid::bigint, 'relid', s.relid::bigint)::text
FROM steep_repl.suspended_indexes s
JOIN pg_catalog.pg_index i ON i.indexrelid = s.index_oid AND i.indrelid = s.relid
WHERE s.operation_id = $1 AND s.restored_at IS NULL ORDER BY s.index_oid
