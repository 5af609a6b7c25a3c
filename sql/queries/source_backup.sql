-- What a base backup of the source is about: who we are there, how large it is as far as we may know, what its standbys must have, and where
-- its tablespaces are.
SELECT pg_catalog.jsonb_build_object(
    'role', current_user,
    'superuser', pg_catalog.current_setting('is_superuser')::boolean,
    'database', pg_catalog.current_database(),
    'major', pg_catalog.current_setting('server_version_num')::integer / 10000,
    'bytes', (SELECT sum(CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT') OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
                              THEN pg_catalog.pg_database_size(d.oid) ELSE 0 END)
              FROM pg_catalog.pg_database d)::bigint,
    'at_least', (SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(s.name, s.setting::bigint)) FROM pg_catalog.pg_settings s
                 WHERE s.name IN (:settings)),
    'tablespaces', (SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(t.oid::bigint, l.path)), '[]'::jsonb)
                    FROM pg_catalog.pg_tablespace t, LATERAL pg_catalog.pg_tablespace_location(t.oid) AS l (path)
                    WHERE l.path LIKE '/%'))::text
