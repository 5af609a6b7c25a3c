-- Slots that are made beforehand and kept for a node whose rows come by somebody's own backup. Each belongs to an operation of kind
-- prepare, which has its name, start and snapshot.

CREATE TABLE steep_repl.prepared_slots (
    operation_id   bigint PRIMARY KEY REFERENCES steep_repl.operations ON DELETE CASCADE,
    expires_at     timestamptz,
    wal_held_bytes bigint,
    seen_at        timestamptz,
    ended          text CHECK (ended IN ('used', 'released', 'expired', 'gone', 'failed'))
);

COMMENT ON TABLE steep_repl.prepared_slots IS 'What prepare_init keeps of its slots; see init_slots';
COMMENT ON COLUMN steep_repl.prepared_slots.operation_id IS 'The operation that made the slot';
COMMENT ON COLUMN steep_repl.prepared_slots.expires_at IS 'When it is taken away if nobody has made use of it; null is never';
COMMENT ON COLUMN steep_repl.prepared_slots.wal_held_bytes IS 'Bytes of WAL that it held back on its node at the last look';
COMMENT ON COLUMN steep_repl.prepared_slots.seen_at IS 'When that look was';
COMMENT ON COLUMN steep_repl.prepared_slots.ended IS 'Why it is not kept any more; null while it is';

CREATE VIEW steep_repl.init_slots AS
SELECT o.slot_name,
       o.node,
       CASE WHEN o.status IN ('pending', 'running') AND o.phase = 'held' THEN 'ready'
            WHEN o.status IN ('pending', 'running') THEN 'preparing'
            WHEN p.ended IS NULL THEN 'failed'
            WHEN o.status = 'cancelling' THEN 'ending'
            ELSE p.ended END AS status,
       o.start_lsn AS source_lsn,
       o.snapshot,
       o.publications,
       p.expires_at,
       CASE WHEN p.ended IS NULL THEN p.wal_held_bytes END AS wal_held_bytes,
       p.seen_at,
       o.created_at,
       o.id AS operation_id,
       o.error ->> 'message' AS error
FROM steep_repl.operations o
JOIN steep_repl.prepared_slots p ON p.operation_id = o.id
WHERE steep_repl.operation_owner(o.system_identifier, o.database::bigint, o.instance, o.timeline, o.disowned) = 'ours'
ORDER BY o.id;

COMMENT ON VIEW steep_repl.init_slots IS 'Slots made by prepare_init, those that are not kept any more among them, ordered by age; what has ended longer ago than steep_repl.event_retention goes when the next one is made';
COMMENT ON COLUMN steep_repl.init_slots.slot_name IS 'Replication slot on the node';
COMMENT ON COLUMN steep_repl.init_slots.node IS 'Node that it was made on: the source to be';
COMMENT ON COLUMN steep_repl.init_slots.status IS 'preparing; ready; used: a node replicates by it; released, expired or gone (somebody dropped it): nothing of it is left; failed: see error; ending: being taken away';
COMMENT ON COLUMN steep_repl.init_slots.source_lsn IS 'LSN that it starts at';
COMMENT ON COLUMN steep_repl.init_slots.snapshot IS 'Exported snapshot of that LSN, for pg_dump --snapshot; null when it is not kept any more, as after a restart of either server';
COMMENT ON COLUMN steep_repl.init_slots.publications IS 'Publications that were committed before the slot was made';
COMMENT ON COLUMN steep_repl.init_slots.expires_at IS 'When it is taken away if nobody has made use of it; null is never';
COMMENT ON COLUMN steep_repl.init_slots.wal_held_bytes IS 'Bytes of WAL that it holds back on its node, as of seen_at; null once it is not kept any more';
COMMENT ON COLUMN steep_repl.init_slots.seen_at IS 'When it was last looked at; every few seconds while the node answers';
COMMENT ON COLUMN steep_repl.init_slots.created_at IS 'When it was asked for';
COMMENT ON COLUMN steep_repl.init_slots.operation_id IS 'Number of the operation that made it; events have it';
COMMENT ON COLUMN steep_repl.init_slots.error IS 'Why it failed, or is not taken away';
