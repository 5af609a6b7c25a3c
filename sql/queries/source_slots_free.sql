SELECT pg_catalog.jsonb_build_object(
    'free', coalesce(pg_catalog.jsonb_agg(s.slot_name ORDER BY pg_catalog.length(s.slot_name), s.slot_name)
                     FILTER (WHERE s.is_unused AND NOT s.active), '[]'::jsonb),
    'busy', coalesce(pg_catalog.jsonb_agg(s.slot_name) FILTER (WHERE s.is_unused AND s.active), '[]'::jsonb),
    'lost', coalesce(pg_catalog.jsonb_agg(s.slot_name) FILTER (WHERE s.wal_status = 'lost'), '[]'::jsonb),
    'held_bytes', coalesce(max(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.restart_lsn)) FILTER (WHERE s.is_unused), 0)::bigint)::text
FROM (SELECT r.*, r.confirmed_flush_lsn = :start AND coalesce(r.wal_status, '') <> 'lost' AS is_unused
      FROM pg_catalog.pg_replication_slots r
      WHERE r.slot_name IN (:names) AND r.database = pg_catalog.current_database()) AS s
