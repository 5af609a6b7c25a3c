SELECT pg_catalog.jsonb_build_object(
    'relid', relid::bigint, 'constraint_oid', constraint_oid::bigint, 'constraint_name', constraint_name, 'contype', contype,
    'definition', definition, 'comment', comment, 'how', how)::text
FROM steep_repl.suspended_constraints WHERE operation_id = $1 AND restored_at IS NULL ORDER BY constraint_oid
