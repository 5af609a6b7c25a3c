SELECT pg_catalog.jsonb_build_array(n.nspname, c.relname, c.relreplident, (
    SELECT x.relname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
    WHERE i.indrelid = c.oid AND i.indisreplident))::text
FROM pg_catalog.unnest(ARRAY[:names]::text[]) AS given (name)
JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(given.name)
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
