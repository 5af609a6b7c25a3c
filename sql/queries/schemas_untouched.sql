-- Schemas whose privileges are those of initdb, with the statements that give them to PUBLIC again: [schema, [statement]].
SELECT pg_catalog.jsonb_build_array(n.nspname, ARRAY[pg_catalog.format('REVOKE ALL ON SCHEMA %I FROM PUBLIC;', n.nspname)] || ARRAY(
        SELECT pg_catalog.format('GRANT %s ON SCHEMA %I TO PUBLIC;', a.privilege_type, n.nspname)
        FROM pg_catalog.aclexplode(n.nspacl) AS a WHERE a.grantee = 0 ORDER BY a.privilege_type))::text
FROM pg_catalog.pg_namespace n
JOIN pg_catalog.pg_init_privs p ON p.classoid = 'pg_catalog.pg_namespace'::regclass AND p.objoid = n.oid AND p.objsubid = 0
WHERE n.nspname = 'public' AND n.nspacl = p.initprivs
