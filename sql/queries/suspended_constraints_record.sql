INSERT INTO steep_repl.suspended_constraints (operation_id, relid, constraint_oid, constraint_name, contype, definition, comment, how)
SELECT $1, c.relid::oid, c.constraint_oid::oid, c.constraint_name, c.contype, c.definition, c.comment, c.how
FROM pg_catalog.jsonb_to_recordset($2::jsonb) AS c (
    relid bigint, constraint_oid bigint, constraint_name text, contype text, definition text, comment text, how text)
ON CONFLICT (operation_id, constraint_oid) DO UPDATE SET restored_at = NULL
