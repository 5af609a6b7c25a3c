-- What a subscription takes of this server, and what of it is in use. PostgreSQL 17 counts origins by max_replication_slots.
SELECT pg_catalog.jsonb_build_object(
    'origins', coalesce(pg_catalog.current_setting('max_active_replication_origins', true),
                        pg_catalog.current_setting('max_replication_slots'))::bigint,
    'origins_used', (SELECT count(*) FROM pg_catalog.pg_replication_origin_status),
    'sync_workers', pg_catalog.current_setting('max_sync_workers_per_subscription')::bigint,
    'apply_workers', pg_catalog.current_setting('max_logical_replication_workers')::bigint,
    'apply_workers_used', (SELECT count(*) FROM pg_catalog.pg_stat_activity a
        WHERE a.backend_type LIKE 'logical replication %worker'))::text
