SELECT d.table_schema, d.table_name, d.status, d.difference, d.captured_at FROM steep_repl.schema_drift d
