-- Operations as they are read; a condition and an order follow.
SELECT pg_catalog.jsonb_build_object(
    'id', o.id, 'kind', o.kind, 'method', o.method, 'node', o.node, 'source', o.source, 'status', o.status, 'phase', o.phase, 'options', o.options,
    'requested_by', o.requested_by::oid::bigint, 'system_identifier', o.system_identifier, 'database', o.database::bigint,
    'instance', o.instance, 'timeline', o.timeline, 'disowned', o.disowned,
    'token', o.token, 'slot_name', o.slot_name, 'publications', o.publications, 'own_publications', o.own_publications,
    'prepared', o.prepared, 'awaits_confirmation', o.phase = 'schema' AND o.options ->> 'schema_sync' = 'manual' AND o.confirmed_at IS NULL,
    'subscription', o.subscription, 'subscription_oid', o.subscription_oid::bigint, 'start_lsn', o.start_lsn,
    'snapshot', o.snapshot, 'awaits_snapshot', o.awaits_snapshot, 'snapshot_expired', o.snapshot_expired,
    'snapshot_age_seconds', extract(epoch FROM pg_catalog.clock_timestamp() - o.snapshot_at), 'enable_lsn', o.enable_lsn,
    'apply_stopped', o.apply_stopped, 'applied_lsn', o.applied_lsn, 'replaced_slot', o.replaced_slot,
    'own_transport', CASE WHEN o.method = 'snapshot' THEN (SELECT t.transport FROM steep_repl.operation_tables t
        WHERE t.operation_id = o.id AND t.transport <> 'server' LIMIT 1) ELSE 'copy' END,
    'bytes_total', o.bytes_total, 'overall_percent', o.overall_percent, 'attempts', o.attempts,
    'age_seconds', extract(epoch FROM pg_catalog.clock_timestamp() - coalesce(o.resumed_at, o.started_at)), 'error', o.error)::text
FROM steep_repl.operations o
