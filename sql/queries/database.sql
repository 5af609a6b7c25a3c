-- What a database is beside its tables, as one JSON object. Runs on either node, PostgreSQL 14 and later; what later ones have is read from
-- the row as JSON.
SELECT pg_catalog.jsonb_build_object(
    'encoding', pg_catalog.current_setting('server_encoding'),
    'collation', pg_catalog.jsonb_build_object(
        'provider', CASE coalesce(d.r ->> 'datlocprovider', 'c') WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' ELSE 'builtin' END,
        'locale', coalesce(d.r ->> 'datlocale', d.r ->> 'daticulocale', d.r ->> 'datcollate'),
        'version', d.r -> 'datcollversion'),
    'clock', extract(epoch FROM pg_catalog.clock_timestamp()),
    'extensions', (SELECT pg_catalog.jsonb_object_agg(e.extname, e.extversion) FROM pg_catalog.pg_extension e),
    'system_identifier', (SELECT c.system_identifier::text FROM pg_catalog.pg_control_system() c),
    'owners', (SELECT coalesce(pg_catalog.jsonb_agg(DISTINCT r.rolname ORDER BY r.rolname), '[]'::jsonb)
               FROM pg_catalog.pg_class c JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
               -- What is made with the server or for a session has an OID or a schema of its own.
               WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't'),
    'large_objects', (SELECT count(*) FROM (SELECT FROM pg_catalog.pg_largeobject_metadata LIMIT 100000) AS counted))::text
FROM (SELECT pg_catalog.to_jsonb(p) AS r FROM pg_catalog.pg_database p WHERE p.datname = pg_catalog.current_database()) AS d
