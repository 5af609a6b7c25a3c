-- Tables whose updates or deletes the publications publish and that have no replica identity: they would fail.
SELECT pg_catalog.jsonb_build_array(n.nspname, c.relname)::text
FROM pg_catalog.pg_publication p
JOIN pg_catalog.pg_publication_tables t ON t.pubname = p.pubname
JOIN pg_catalog.pg_namespace n ON n.nspname = t.schemaname
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
WHERE p.pubname IN (:names) AND (p.pubupdate OR p.pubdelete) AND c.relkind = 'r'
  AND CASE c.relreplident
      WHEN 'f' THEN false
      WHEN 'n' THEN true
      ELSE NOT EXISTS (
          SELECT FROM pg_catalog.pg_index i
          WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
            AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END) END
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
