-- How a table gets here is decided by what was asked for and its size, wherever the plan is made.
INSERT INTO steep_repl.operation_tables (operation_id, relid, ordinal, table_schema, table_name, source_relid, columns, column_numbers, column_types, format,
                                         small, keeps_indexes, heap, packed, insert_only, pages, bytes_total, rows_estimated, transport)
SELECT $1, t.relid::oid, t.ordinal, t.table_schema, t.table_name, t.source_relid::oid, t.columns, t.column_numbers, t.column_types, t.format, t.small, t.keeps_indexes, t.heap, t.packed,
       t.insert_only, t.pages, t.bytes_total, t.rows_estimated,
       CASE WHEN o.method <> 'snapshot' THEN 'copy'
            WHEN t.bytes_total > (o.options ->> 'large_table_threshold')::bigint THEN o.options ->> 'large_table_method' ELSE 'server' END
FROM pg_catalog.jsonb_to_recordset($2::jsonb) AS t (
    relid bigint, ordinal integer, table_schema text, table_name text, source_relid bigint, columns text[], column_numbers smallint[], column_types text[], format text,
    small boolean, keeps_indexes boolean, heap boolean, packed boolean, insert_only boolean, pages bigint, bytes_total bigint, rows_estimated double precision)
JOIN steep_repl.operations o ON o.id = $1
