SELECT pg_catalog.to_jsonb(pg_catalog.format('subscription %I (node %s: replication slot %s, publication %s)',
                                             s.subname, o.source, s.subslotname, pg_catalog.array_to_string(s.subpublications, ', ')))::text
FROM steep_repl.operations o JOIN pg_catalog.pg_subscription s ON s.oid = o.subscription_oid AND s.subname = o.subscription
WHERE o.status = 'completed' ORDER BY o.id
