-- On either side, and on the source without the extension. Column by column: not everybody may read all of pg_subscription.
SELECT pg_catalog.jsonb_build_object(
    'subscriptions', (SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(s.oid::bigint, s.subname) ORDER BY s.subname), '[]'::jsonb)
                      FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
                      WHERE d.datname = pg_catalog.current_database()),
    'slots', (SELECT coalesce(pg_catalog.jsonb_agg(r.slot_name ORDER BY r.slot_name), '[]'::jsonb) FROM pg_catalog.pg_replication_slots r
              WHERE NOT r.temporary),
    -- Not what subscriptions of other databases stand on, which are left alone.
    'origins', (SELECT coalesce(pg_catalog.jsonb_agg(o.roname ORDER BY o.roname), '[]'::jsonb) FROM pg_catalog.pg_replication_origin o
                WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
                                  WHERE d.datname <> pg_catalog.current_database()
                                    AND (o.roname = pg_catalog.format('pg_%s', s.oid)
                                         OR pg_catalog.starts_with(o.roname, pg_catalog.format('pg_%s_', s.oid))))),
    'publications', (SELECT coalesce(pg_catalog.jsonb_agg(p.pubname ORDER BY p.pubname), '[]'::jsonb) FROM pg_catalog.pg_publication p
                     WHERE p.pubname ~ '^steep_repl_[0-9a-f]{16}'))::text
