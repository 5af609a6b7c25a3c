SELECT f.table_schema, f.table_name, f.fingerprint, f.column_count, f.captured_at, f.definition
FROM steep_repl.schema_fingerprints f
ORDER BY f.table_schema, f.table_name
