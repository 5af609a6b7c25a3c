-- What is copied of tables whose definition has changed; how they are cut and in which order they go stays.
UPDATE steep_repl.operation_tables o
SET columns = t.columns, column_numbers = t.column_numbers, column_types = t.column_types, format = t.format
FROM pg_catalog.jsonb_to_recordset($2::jsonb) AS t (
    relid bigint, columns text[], column_numbers smallint[], column_types text[], format text)
WHERE o.operation_id = $1 AND o.relid = t.relid::oid
