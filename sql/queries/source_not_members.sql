-- Tables that are no members of publications, nor partitions of such, or that became partitions after a slot was made, as far as transaction ids tell:
-- a row of a catalog that is older than the oldest one whose rows the slot needs was there before it. One that was made as a partition has the same
-- transaction in its row type; one that was only attached in the transaction that made it has had its columns changed by the very command that attached
-- it.
SELECT pg_catalog.jsonb_build_array(n.nspname, c.relname)::text
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY (:relids::oid[]) AND c.oid <> ALL (:members)
  AND (NOT EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(c.oid) a WHERE a.relid = ANY (:members))
       OR EXISTS (
           SELECT FROM pg_catalog.pg_partition_ancestors(c.oid) a
           JOIN pg_catalog.pg_inherits i ON i.inhrelid = a.relid
           JOIN pg_catalog.pg_type t ON t.typrelid = a.relid
           JOIN pg_catalog.pg_replication_slots s ON s.slot_name = :slot
           WHERE (i.xmin <> t.xmin
                  OR EXISTS (SELECT FROM pg_catalog.pg_attribute m
                             WHERE m.attrelid = a.relid AND m.attnum > 0 AND m.xmin = i.xmin AND m.cmin = i.cmin))
             AND pg_catalog.age(i.xmin) <= pg_catalog.age(s.catalog_xmin)))
ORDER BY n.nspname, c.relname
