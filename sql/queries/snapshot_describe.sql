UPDATE steep_repl.operation_tables o
SET columns = t.columns, column_numbers = t.column_numbers, column_types = t.column_types, format = t.format,
    rows_estimated = t.rows, pages = t.pages, bytes_total = t.bytes_total, snapshot_lsn = t.snapshot_lsn,
    source_filenode = t.source_filenode::oid, source_natts = t.source_natts, insert_only = t.insert_only
FROM pg_catalog.jsonb_to_recordset($2::jsonb) AS t (
    relid bigint, columns text[], column_numbers smallint[], column_types text[], format text, rows bigint, pages bigint,
    bytes_total bigint, snapshot_lsn pg_lsn, source_filenode bigint, source_natts smallint, insert_only boolean)
WHERE o.operation_id = $1 AND o.relid = t.relid::oid
