SELECT pg_catalog.jsonb_build_object(
    'comment', d.description,
    'slot_names', (SELECT coalesce(pg_catalog.jsonb_agg(s.slot_name), '[]'::jsonb) FROM pg_catalog.pg_replication_slots s
                   WHERE s.database = pg_catalog.current_database()))::text
FROM pg_catalog.pg_publication p
JOIN pg_catalog.pg_description d ON d.objoid = p.oid AND d.classoid = 'pg_catalog.pg_publication'::pg_catalog.regclass AND d.objsubid = 0
WHERE pg_catalog.starts_with(d.description, 'steep_repl init slot: ')
ORDER BY p.pubname
