-- What is to be taken back, newest first.
SELECT pg_catalog.jsonb_build_object('position', position, 'action', action, 'object_kind', object_kind, 'object_name', object_name,
                                     'table_schema', table_schema, 'table_name', table_name, 'undo', undo)::text
FROM steep_repl.schema_changes WHERE operation_id = $1 AND undone_at IS NULL ORDER BY position DESC LIMIT $2
