SELECT pg_catalog.jsonb_build_object('application_name', a.application_name, 'wait_event_type', a.wait_event_type,
    'blockers', ARRAY(SELECT 'pid ' || b.pid FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids(a.pid)) AS b (pid) ORDER BY b.pid))::text
FROM pg_catalog.pg_stat_activity a
WHERE a.datname = pg_catalog.current_database() AND pg_catalog.starts_with(a.application_name, :prefix || '_')
