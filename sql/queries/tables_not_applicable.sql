-- Those of the given tables that the apply worker of a subscription could not write to: it becomes the table's owner, or writes as the
-- subscription's.
SELECT pg_catalog.to_jsonb(pg_catalog.format('%I.%I', n.nspname, c.relname))::text
FROM pg_catalog.jsonb_array_elements_text($1::jsonb) AS r
JOIN pg_catalog.pg_class c ON c.oid = r.value::oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_subscription s ON s.oid = $2::oid
WHERE NOT (SELECT o.rolsuper FROM pg_catalog.pg_roles o WHERE o.oid = s.subowner)
  AND CASE WHEN s.subrunasowner
           THEN NOT (pg_catalog.has_table_privilege(s.subowner, c.oid, 'INSERT') AND pg_catalog.has_table_privilege(s.subowner, c.oid, 'UPDATE')
                     AND pg_catalog.has_table_privilege(s.subowner, c.oid, 'DELETE') AND pg_catalog.has_table_privilege(s.subowner, c.oid, 'TRUNCATE'))
           ELSE NOT pg_catalog.pg_has_role(s.subowner, c.relowner, 'SET') END
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
