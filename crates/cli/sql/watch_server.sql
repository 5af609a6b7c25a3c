SELECT pg_catalog.jsonb_build_object(
    'clock', pg_catalog.clock_timestamp(),
    'version', pg_catalog.current_setting('server_version_num')::integer / 10000,
    'extension', (SELECT e.extversion FROM pg_catalog.pg_extension e WHERE e.extname = 'steep_repl'),
    'slots', coalesce((
        SELECT pg_catalog.jsonb_object_agg(r.slot_name, pg_catalog.jsonb_build_object(
            'active', r.active,
            'lag_bytes', pg_catalog.pg_wal_lsn_diff(
                CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END,
                r.confirmed_flush_lsn)::bigint))
        FROM pg_catalog.pg_replication_slots r
        WHERE r.slot_type = 'logical' AND r.database = pg_catalog.current_database()), '{}'))::text
