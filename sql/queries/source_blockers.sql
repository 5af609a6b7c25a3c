WITH open AS (
    SELECT 'pid ' || a.pid AS who, a.xact_start AS since
    FROM pg_catalog.pg_stat_activity a
    WHERE a.backend_xid IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid()
    UNION ALL
    SELECT 'prepared transaction ' || pg_catalog.quote_literal(p.gid), p.prepared
    FROM pg_catalog.pg_prepared_xacts p
)
SELECT pg_catalog.jsonb_build_object('who', o.who,
    'age_seconds', extract(epoch FROM pg_catalog.clock_timestamp() - o.since))::text
FROM open o ORDER BY o.since NULLS LAST LIMIT 5
