INSERT INTO steep_repl.schema_changes (operation_id, position, action, object_kind, object_name, table_schema, table_name, undo)
SELECT $1, coalesce((SELECT max(b.position) FROM steep_repl.schema_changes b WHERE b.operation_id = $1), 0) + c.place::integer,
       c.change ->> 'action', c.change ->> 'object_kind', c.change ->> 'object_name', c.change ->> 'table_schema', c.change ->> 'table_name',
       ARRAY(SELECT u.statement FROM pg_catalog.jsonb_array_elements_text(c.change -> 'undo') WITH ORDINALITY AS u (statement, place) ORDER BY u.place)
FROM pg_catalog.jsonb_array_elements($2::jsonb) WITH ORDINALITY AS c (change, place)
