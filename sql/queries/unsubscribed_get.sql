SELECT pg_catalog.jsonb_build_object('table_schema', table_schema, 'table_name', table_name, 'is_here', is_here)::text
FROM steep_repl.unsubscribed_tables WHERE node = $1
