WITH now AS (
    SELECT t.* FROM pg_catalog.jsonb_to_recordset($2::jsonb) AS t (table_schema text, table_name text, is_here boolean)
), gone AS (
    DELETE FROM steep_repl.unsubscribed_tables u
    WHERE u.node = $1 AND NOT EXISTS (SELECT FROM now t WHERE t.table_schema = u.table_schema AND t.table_name = u.table_name)
)
INSERT INTO steep_repl.unsubscribed_tables (node, table_schema, table_name, is_here)
SELECT $1, t.table_schema, t.table_name, t.is_here FROM now t
ON CONFLICT (node, table_schema, table_name) DO UPDATE SET is_here = EXCLUDED.is_here
