-- Publications ('p' and OID), their members ('r' and the table's OID; of whole schemas 's' and the schema's OID, from PostgreSQL 15 on), and what is a
-- partition below one ('i' and its OID). A row of a catalog that is changed gets another xmin, and keeps it when it is frozen.
SELECT coalesce(pg_catalog.jsonb_object_agg(m.what, m.mark), '{}'::jsonb)::text
FROM (
    SELECT 'p' || p.oid AS what, p.xmin::text AS mark FROM pg_catalog.pg_publication p WHERE p.pubname IN (:names)
    UNION ALL
    SELECT 'r' || r.prrelid || ' ' || r.prpubid, r.oid || ' ' || r.xmin
    FROM pg_catalog.pg_publication p JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid WHERE p.pubname IN (:names)
    UNION ALL
    SELECT 'i' || i.inhrelid, i.inhparent || ' ' || i.xmin
    FROM pg_catalog.pg_publication p JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid,
         pg_catalog.pg_partition_tree(r.prrelid) b, pg_catalog.pg_inherits i
    WHERE p.pubname IN (:names) AND i.inhrelid = b.relid
    :schemas
) AS m
