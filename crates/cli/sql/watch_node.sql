WITH s AS MATERIALIZED (SELECT * FROM steep_repl.node_status)
SELECT pg_catalog.jsonb_build_object(
    'nodes', coalesce((SELECT pg_catalog.jsonb_agg(pg_catalog.to_jsonb(s) ORDER BY s.node) FROM s), '[]'),
    'progress', (SELECT pg_catalog.to_jsonb(p) FROM steep_repl.init_progress p WHERE p.node = (SELECT s.node FROM s WHERE s.is_local)),
    'subscriptions', coalesce((
        SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
            'slot', u.subslotname,
            'enabled', u.subenabled,
            'running', EXISTS (SELECT FROM pg_catalog.pg_stat_subscription w WHERE w.subid = u.oid AND w.relid IS NULL AND w.pid IS NOT NULL)))
        FROM pg_catalog.pg_subscription u
        WHERE u.subdbid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
          AND pg_catalog.starts_with(u.subname::text, 'steep_repl_')), '[]'),
    'offers', coalesce((
        SELECT pg_catalog.jsonb_agg(o.name) FROM (
            SELECT DISTINCT f.proname::text FROM pg_catalog.pg_proc f
            WHERE f.pronamespace = pg_catalog.to_regnamespace('steep_repl') AND f.proname IN ('preflight', 'reinit_node', 'generate_snapshot')
            UNION
            SELECT c.relname::text FROM pg_catalog.pg_class c
            WHERE c.relnamespace = pg_catalog.to_regnamespace('steep_repl') AND c.relname = 'snapshots') o (name)), '[]'))::text
