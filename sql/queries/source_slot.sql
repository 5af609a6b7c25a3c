SELECT pg_catalog.jsonb_build_object(
    'now', pg_catalog.pg_current_wal_lsn(),
    'confirmed', s.confirmed_flush_lsn, 'restart', s.restart_lsn, 'active', coalesce(s.active, false),
    'wal_status', s.wal_status,
    'replay_lag_seconds', extract(epoch FROM r.replay_lag))::text
FROM (SELECT) AS one
LEFT JOIN pg_catalog.pg_replication_slots s ON s.slot_name = :name
LEFT JOIN pg_catalog.pg_stat_replication r ON r.pid = s.active_pid
