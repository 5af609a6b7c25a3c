SELECT pg_catalog.jsonb_build_object('what', pg_catalog.format('subscription %I (node %s: replication slot %s, publication %s)',
                                             s.subname, o.source, s.subslotname, pg_catalog.array_to_string(s.subpublications, ', ')),
    'system_identifier', o.system_identifier, 'database', o.database::bigint, 'instance', o.instance, 'timeline', o.timeline,
    'disowned', o.disowned, 'completed', o.status = 'completed')::text
FROM steep_repl.operations o JOIN pg_catalog.pg_subscription s ON s.oid = o.subscription_oid AND s.subname = o.subscription
WHERE o.kind = 'init' AND s.subdbid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
ORDER BY o.id
