SELECT pg_catalog.jsonb_build_object(
    'id', o.id, 'system_identifier', o.system_identifier, 'database', o.database::bigint,
    'instance', o.instance, 'timeline', o.timeline, 'disowned', o.disowned)::text
FROM steep_repl.operations o ORDER BY o.id
