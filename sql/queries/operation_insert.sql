INSERT INTO steep_repl.operations (node, source, kind, method, options, requested_by, system_identifier, database, instance, timeline, token,
                                   slot_name, publications, own_publications, publication_plan, subscription, subscription_oid,
                                   bytes_total, workers_planned, phase, prepared, start_lsn, publication_mark)
SELECT n.node, n.source, n.kind, n.method, n.options, n.requested_by::oid::regrole, n.system_identifier, n.database::oid, n.instance, n.timeline,
       n.token, n.slot_name, n.publications, n.own_publications, n.publication_plan, n.subscription,
       n.subscription_oid::oid, n.bytes_total, n.workers_planned, n.phase,
       coalesce(n.prepared, false), n.start_lsn, n.publication_mark
FROM pg_catalog.jsonb_to_record($1::jsonb) AS n (
    node text, source text, kind text, method text, options jsonb, requested_by bigint, system_identifier text, database bigint, instance text, timeline bigint,
    token text, slot_name text, publications text[], own_publications boolean, publication_plan jsonb,
    subscription text, subscription_oid bigint, bytes_total bigint,
    workers_planned integer, phase text, prepared boolean, start_lsn pg_lsn, publication_mark jsonb)
RETURNING id::text
