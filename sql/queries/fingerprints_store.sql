WITH now AS (
    SELECT t.* FROM pg_catalog.jsonb_to_recordset($1::jsonb) AS t (
        table_schema text, table_name text, fingerprint text, column_count integer, definition jsonb)
), gone AS (
    DELETE FROM steep_repl.schema_fingerprints f
    WHERE ($2::jsonb IS NULL OR f.table_schema IN (SELECT s.value FROM pg_catalog.jsonb_array_elements_text($2::jsonb) AS s (value)))
      AND NOT EXISTS (SELECT FROM now t WHERE t.table_schema = f.table_schema AND t.table_name = f.table_name)
), asked AS (
    INSERT INTO steep_repl.captured_schemas (schema_name)
    SELECT s.value FROM pg_catalog.jsonb_array_elements_text(coalesce($2::jsonb, '[""]')) AS s (value) GROUP BY s.value
    ON CONFLICT (schema_name) DO UPDATE SET captured_at = EXCLUDED.captured_at
)
INSERT INTO steep_repl.schema_fingerprints (table_schema, table_name, fingerprint, column_count, definition)
SELECT t.table_schema, t.table_name, t.fingerprint, t.column_count, t.definition FROM now t
ON CONFLICT (table_schema, table_name) DO UPDATE
SET fingerprint = EXCLUDED.fingerprint, column_count = EXCLUDED.column_count, definition = EXCLUDED.definition,
    captured_at = EXCLUDED.captured_at
