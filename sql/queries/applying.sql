SELECT pg_catalog.jsonb_build_object(
    'running', EXISTS (SELECT FROM pg_catalog.pg_stat_get_subscription(s.oid) w WHERE w.pid IS NOT NULL AND w.relid IS NULL),
    'errors', (SELECT t.apply_error_count FROM pg_catalog.pg_stat_get_subscription_stats(s.oid) t),
    'not_ready', (SELECT count(*) FROM pg_catalog.pg_subscription_rel r WHERE r.srsubid = s.oid AND r.srsubstate <> 'r'))::text
FROM pg_catalog.pg_subscription s WHERE s.oid = $1::oid
