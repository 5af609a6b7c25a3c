WITH planned AS (
    SELECT c.oid, c.relowner, c.relnamespace, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_catalog.unnest('{:relids}'::oid[]) AS given (relid)
    JOIN pg_catalog.pg_class c ON c.oid = given.relid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
)
SELECT pg_catalog.jsonb_build_object(
    'unreadable', coalesce((SELECT pg_catalog.jsonb_agg(p.name ORDER BY p.name) FROM planned p
        WHERE NOT (pg_catalog.has_schema_privilege(p.relnamespace, 'USAGE')
                   AND pg_catalog.has_table_privilege(p.oid, 'SELECT'))), '[]'::jsonb),
    'not_owned', coalesce((SELECT pg_catalog.jsonb_agg(p.name ORDER BY p.name) FROM planned p
        WHERE NOT pg_catalog.pg_has_role(p.relowner, 'USAGE')), '[]'::jsonb),
    'row_security', coalesce((SELECT pg_catalog.jsonb_agg(p.name ORDER BY p.name) FROM planned p
        WHERE pg_catalog.row_security_active(p.oid)), '[]'::jsonb))::text
