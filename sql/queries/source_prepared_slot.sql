SELECT pg_catalog.jsonb_build_object(
    'slot_type', s.slot_type, 'plugin', s.plugin, 'is_here', s.database IS NOT DISTINCT FROM pg_catalog.current_database(),
    'active', s.active, 'temporary', s.temporary, 'two_phase', s.two_phase,
    'confirmed', s.confirmed_flush_lsn, 'wal_status', s.wal_status,
    'now', pg_catalog.pg_current_wal_lsn())::text
FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = :name
