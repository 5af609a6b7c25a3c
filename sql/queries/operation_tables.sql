SELECT pg_catalog.jsonb_build_object(
    'relid', relid::bigint, 'ordinal', ordinal, 'table_schema', table_schema, 'table_name', table_name,
    'source_relid', source_relid::bigint, 'columns', columns, 'column_numbers', column_numbers,
    'column_types', column_types, 'source_filenode', source_filenode::bigint, 'source_natts', source_natts, 'format', format, 'small', small, 'keeps_indexes', keeps_indexes, 'heap', heap, 'packed', packed,
    'transport', transport, 'insert_only', insert_only, 'pages', pages, 'bytes_total', bytes_total, 'rows_estimated', rows_estimated)::text
FROM steep_repl.operation_tables WHERE operation_id = $1 ORDER BY ordinal
