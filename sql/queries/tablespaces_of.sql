-- The folders of the tablespaces that tables are in, as (oid, folder); the server's own folder is an empty name.
SELECT pg_catalog.jsonb_build_array(c.oid::bigint, pg_catalog.pg_tablespace_location(
    CASE WHEN c.reltablespace = 0 THEN d.dattablespace ELSE c.reltablespace END))::text
FROM pg_catalog.pg_class c, pg_catalog.pg_database d
WHERE d.datname = pg_catalog.current_database() AND c.oid IN (SELECT value::oid FROM pg_catalog.jsonb_array_elements_text($1::jsonb))
