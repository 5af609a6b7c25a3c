-- Tables that are no members of publications, nor partitions of such; and those that became partitions after a slot was made, with the transaction that
-- attached them. That is none of those that are known to have been attached before; of the others a row of a catalog that is older than the oldest one
-- whose rows the slot needs was there before it. One that was made as a partition has the same transaction in its row type. One that was attached in the
-- transaction that made it has had its columns changed by the very command that attached it, whose number comes with it: rows that are older than
-- that command were written before.
SELECT pg_catalog.jsonb_build_array(n.nspname, c.relname, l.xid, l.cid)::text
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
    SELECT i.xmin::text AS xid, CASE WHEN i.xmin = t.xmin THEN i.cmin::text END AS cid
    FROM pg_catalog.pg_partition_ancestors(c.oid) a
    JOIN pg_catalog.pg_inherits i ON i.inhrelid = a.relid
    JOIN pg_catalog.pg_type t ON t.typrelid = a.relid
    JOIN pg_catalog.pg_replication_slots s ON s.slot_name = :slot
    WHERE pg_catalog.format('%s %s %s', i.inhrelid, i.inhparent, i.xmin) <> ALL (:known)
      AND (i.xmin <> t.xmin
           OR EXISTS (SELECT FROM pg_catalog.pg_attribute m
                      WHERE m.attrelid = a.relid AND m.attnum > 0 AND m.xmin = i.xmin AND m.cmin = i.cmin))
      AND pg_catalog.age(i.xmin) <= pg_catalog.age(s.catalog_xmin)
    ORDER BY i.xmin = t.xmin
    LIMIT 1) AS l ON true
WHERE c.oid = ANY (:relids::oid[]) AND c.oid <> ALL (:members)
  AND (l.xid IS NOT NULL
       OR NOT EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(c.oid) a WHERE a.relid = ANY (:members)))
ORDER BY n.nspname, c.relname
