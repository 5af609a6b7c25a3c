-- Asked for one subscription, the server shows the first of its workers alone.
SELECT pg_catalog.jsonb_build_object(
    'running', EXISTS (SELECT FROM pg_catalog.pg_stat_get_subscription(NULL) w WHERE w.subid = s.oid AND w.pid IS NOT NULL AND w.relid IS NULL),
    'enabled', s.subenabled,
    'sync_errors', (SELECT t.sync_error_count FROM pg_catalog.pg_stat_get_subscription_stats(s.oid) t),
    'errors', (SELECT t.apply_error_count FROM pg_catalog.pg_stat_get_subscription_stats(s.oid) t),
    -- PostgreSQL 17 counts no conflicts.
    'conflicts', ARRAY(SELECT pg_catalog.substr(v.key, 7) || ' ' || v.value
        FROM pg_catalog.pg_stat_get_subscription_stats(s.oid) t, pg_catalog.jsonb_each_text(pg_catalog.to_jsonb(t)) v
        WHERE pg_catalog.starts_with(v.key, 'confl_') AND v.value <> '0' ORDER BY v.key),
    'not_ready', (SELECT count(*) FROM pg_catalog.pg_subscription_rel r WHERE r.srsubid = s.oid AND r.srsubstate <> 'r'))::text
FROM pg_catalog.pg_subscription s WHERE s.oid = $1::oid
