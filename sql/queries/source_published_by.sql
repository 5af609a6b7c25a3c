-- A table, when it is there, and one of the publications of its updates or deletes: its own, or those of what it is a partition of.
SELECT pg_catalog.jsonb_build_object('publication', (
    SELECT min(p.pubname) FROM pg_catalog.pg_publication p
    JOIN pg_catalog.pg_publication_tables t ON t.pubname = p.pubname
    JOIN pg_catalog.pg_namespace n ON n.nspname = t.schemaname
    JOIN pg_catalog.pg_class k ON k.relnamespace = n.oid AND k.relname = t.tablename
    WHERE (p.pubupdate OR p.pubdelete)
      AND (k.oid = c.oid OR k.oid IN (SELECT a.relid FROM pg_catalog.pg_partition_ancestors(c.oid) AS a (relid)))))::text
FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass(:name)
