SELECT c.table_schema, c.table_name, c.status, c.fingerprint_a, c.fingerprint_b, c.difference
FROM steep_repl.compare_schemas($1, $2, $3) c
