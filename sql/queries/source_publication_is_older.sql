-- xmin of a catalog row is kept when it is frozen; age() counts back from now, so the older one is the greater.
SELECT coalesce(pg_catalog.bool_and(pg_catalog.age(m.xmin) > pg_catalog.age(s.catalog_xmin)), false)::text
FROM pg_catalog.pg_replication_slots s
CROSS JOIN (
    SELECT p.xmin FROM pg_catalog.pg_publication p WHERE p.pubname = :publication
    UNION ALL
    SELECT r.xmin FROM pg_catalog.pg_publication p JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid
    WHERE p.pubname = :publication
    :schemas) AS m
WHERE s.slot_name = :slot
