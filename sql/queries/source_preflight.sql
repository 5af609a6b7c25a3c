SELECT pg_catalog.jsonb_build_object(
    'version_num', pg_catalog.current_setting('server_version_num')::integer,
    'version', pg_catalog.current_setting('server_version'),
    'wal_level', pg_catalog.current_setting('wal_level'),
    'in_recovery', pg_catalog.pg_is_in_recovery(),
    'slots', pg_catalog.current_setting('max_replication_slots')::integer,
    'slots_used', (SELECT count(*) FROM pg_catalog.pg_replication_slots),
    'walsenders', pg_catalog.current_setting('max_wal_senders')::integer,
    'walsenders_used', (SELECT count(*) FROM pg_catalog.pg_stat_replication),
    'slot_keep_size', pg_catalog.current_setting('max_slot_wal_keep_size', true),
    'slot_idle_timeout', pg_catalog.current_setting('idle_replication_slot_timeout', true),
    -- Not everybody may read it, and asking for it would be an error then.
    'output_plugins', CASE WHEN pg_catalog.pg_has_role('pg_read_all_settings', 'USAGE')
                           THEN pg_catalog.current_setting('output_plugin_libraries', true) END,
    'role', current_user,
    'is_superuser', (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user),
    'may_replicate', (SELECT rolsuper OR rolreplication FROM pg_catalog.pg_roles WHERE rolname = current_user),
    'may_create', pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'),
    'database', pg_catalog.current_database(),
    'database_oid', (SELECT oid::bigint FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()),
    'system_identifier', (SELECT system_identifier::text FROM pg_catalog.pg_control_system()))::text
