-- Column by column: who may not read the connection string may not read the whole row.
SELECT pg_catalog.jsonb_build_object(
    'name', s.subname,
    'owner', s.subowner::bigint,
    'enabled', s.subenabled,
    'slot_name', s.subslotname,
    'publications', s.subpublications,
    'failover', s.subfailover,
    'two_phase', s.subtwophasestate <> 'd',
    'skips', s.subskiplsn <> '0/0',
    'apply_pid', (SELECT w.pid FROM pg_catalog.pg_stat_get_subscription(NULL) w
                  WHERE w.subid = s.oid AND w.pid IS NOT NULL AND w.relid IS NULL AND w.leader_pid IS NULL LIMIT 1),
    'worker_pids', ARRAY(SELECT w.pid FROM pg_catalog.pg_stat_get_subscription(NULL) w WHERE w.subid = s.oid AND w.pid IS NOT NULL),
    'tables', coalesce((SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                            'relid', r.srrelid::bigint, 'state', r.srsubstate, 'lsn', r.srsublsn) ORDER BY r.srrelid)
                        FROM pg_catalog.pg_subscription_rel r WHERE r.srsubid = s.oid), '[]'::jsonb))::text
FROM pg_catalog.pg_subscription s WHERE s.oid = $1::oid
