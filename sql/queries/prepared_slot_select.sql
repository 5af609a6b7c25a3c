-- Slots that are or were kept, as they are read; a condition follows.
SELECT pg_catalog.jsonb_build_object(
    'operation', o.id, 'slot', o.slot_name, 'node', o.node, 'start_lsn', o.start_lsn, 'snapshot', o.snapshot, 'publications', o.publications,
    'is_expired', coalesce(p.expires_at <= pg_catalog.clock_timestamp(), false),
    'expires_at', (extract(epoch FROM p.expires_at) * 1000000)::bigint)::text
FROM steep_repl.prepared_slots p JOIN steep_repl.operations o ON o.id = p.operation_id
