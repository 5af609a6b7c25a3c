-- Portable snapshots. A snapshot is what an operation of kind generate has made; its row stays for as long as its files do.

-- Of an operation that generates a snapshot: what its finished tasks have written; of one that applies it: what its tasks load.
CREATE TABLE steep_repl.snapshot_files (
    task_id  bigint PRIMARY KEY REFERENCES steep_repl.tasks ON DELETE CASCADE,
    path     text NOT NULL,
    bytes    bigint NOT NULL,
    sha256   text NOT NULL,
    rows     bigint NOT NULL,
    snapshot_lsn    pg_lsn NOT NULL,
    source_filenode oid NOT NULL,
    source_natts    smallint NOT NULL
);

COMMENT ON TABLE steep_repl.snapshot_files IS 'Files with rows of portable snapshots, one a copy task';
COMMENT ON COLUMN steep_repl.snapshot_files.task_id IS 'The task that has written it, or loads it';
COMMENT ON COLUMN steep_repl.snapshot_files.path IS 'Its place below the folder of the snapshot';
COMMENT ON COLUMN steep_repl.snapshot_files.bytes IS 'Its size';
COMMENT ON COLUMN steep_repl.snapshot_files.sha256 IS 'SHA-256 of its bytes';
COMMENT ON COLUMN steep_repl.snapshot_files.rows IS 'Rows in it';
COMMENT ON COLUMN steep_repl.snapshot_files.snapshot_lsn IS 'LSN of the snapshot they were read under';
COMMENT ON COLUMN steep_repl.snapshot_files.source_filenode IS 'pg_class.relfilenode of the table on the source then';
COMMENT ON COLUMN steep_repl.snapshot_files.source_natts IS 'pg_class.relnatts of the table on the source then';

CREATE TABLE steep_repl.snapshot_looks (
    operation_id    bigint PRIMARY KEY REFERENCES steep_repl.operations ON DELETE CASCADE,
    bytes           bigint,
    slots_free      integer NOT NULL,
    wal_held_bytes  bigint,
    looked_at       timestamptz NOT NULL,
    slots_dropped   integer NOT NULL DEFAULT 0
);

COMMENT ON TABLE steep_repl.snapshot_looks IS 'What the last look at the source of a snapshot has found; see snapshots';
COMMENT ON COLUMN steep_repl.snapshot_looks.operation_id IS 'The operation that has generated the snapshot';
COMMENT ON COLUMN steep_repl.snapshot_looks.bytes IS 'Size of its files';
COMMENT ON COLUMN steep_repl.snapshot_looks.slots_free IS 'Replication slots that no target has taken';
COMMENT ON COLUMN steep_repl.snapshot_looks.wal_held_bytes IS 'WAL that these slots hold back on the source';
COMMENT ON COLUMN steep_repl.snapshot_looks.looked_at IS 'When it was looked';
COMMENT ON COLUMN steep_repl.snapshot_looks.slots_dropped IS 'Of these slots, how many were dropped with the snapshot';

-- A target takes a slot of a snapshot by making a copy of it of its own name and dropping the original.
CREATE TABLE steep_repl.snapshot_claims (
    operation_id  bigint PRIMARY KEY REFERENCES steep_repl.operations ON DELETE CASCADE,
    slot_name     text NOT NULL
);

COMMENT ON TABLE steep_repl.snapshot_claims IS 'Slots of snapshots that operations of this node take; written when they have copied one and are about to drop it';
COMMENT ON COLUMN steep_repl.snapshot_claims.operation_id IS 'The operation';
COMMENT ON COLUMN steep_repl.snapshot_claims.slot_name IS 'The slot as the snapshot has it';

CREATE VIEW steep_repl.snapshots AS
SELECT o.token AS id,
       o.source,
       o.options -> 'files' ->> 'path' AS path,
       CASE o.status WHEN 'completed' THEN 'complete' WHEN 'failed' THEN 'failed' WHEN 'pending' THEN 'generating'
                     WHEN 'running' THEN 'generating' ELSE 'dropping' END AS status,
       o.phase,
       round(o.overall_percent::numeric, 1) AS percent,
       o.start_lsn AS lsn,
       (o.options -> 'files' ->> 'targets')::integer AS slots,
       l.slots_free,
       l.wal_held_bytes,
       l.looked_at,
       o.created_at,
       o.created_at + make_interval(secs => (o.options -> 'files' ->> 'expires')::double precision) AS expires_at,
       l.bytes,
       (SELECT count(*) FROM steep_repl.operation_tables t WHERE t.operation_id = o.id) AS tables,
       (SELECT count(*) FROM steep_repl.operation_tables t WHERE t.operation_id = o.id AND t.status = 'done') AS tables_done,
       o.rows_done,
       o.bytes_done,
       o.bytes_total,
       round(o.bytes_per_second::numeric) AS bytes_per_second,
       o.eta,
       o.options -> 'files' ->> 'compression' AS compression,
       o.id AS operation_id,
       o.error ->> 'sqlstate' AS sqlstate,
       o.error ->> 'message' AS error,
       o.error ->> 'detail' AS detail,
       o.error ->> 'hint' AS hint
FROM steep_repl.operations o
LEFT JOIN steep_repl.snapshot_looks l ON l.operation_id = o.id
WHERE o.kind = 'generate'
  AND (o.status <> 'cancelled' OR EXISTS (SELECT FROM steep_repl.cleanup c WHERE c.operation_id = o.id))
ORDER BY o.id;

COMMENT ON VIEW steep_repl.snapshots IS 'Portable snapshots that this node has generated or generates, one row each, oldest first';
COMMENT ON COLUMN steep_repl.snapshots.id IS 'Identity of the snapshot, for drop_snapshot(id)';
COMMENT ON COLUMN steep_repl.snapshots.source IS 'Node that it was taken of';
COMMENT ON COLUMN steep_repl.snapshots.path IS 'Its folder on this server';
COMMENT ON COLUMN steep_repl.snapshots.status IS 'generating, failed, complete or dropping';
COMMENT ON COLUMN steep_repl.snapshots.phase IS 'Step: publication, slot, tables, copy, sequences, done';
COMMENT ON COLUMN steep_repl.snapshots.percent IS 'Share of the work done, 0 to 100';
COMMENT ON COLUMN steep_repl.snapshots.lsn IS 'Source LSN of its slots';
COMMENT ON COLUMN steep_repl.snapshots.slots IS 'Replication slots that were made for targets';
COMMENT ON COLUMN steep_repl.snapshots.slots_free IS 'Of them not taken by a target, as of looked_at';
COMMENT ON COLUMN steep_repl.snapshots.wal_held_bytes IS 'WAL that the free slots hold back on the source, in bytes, as of looked_at';
COMMENT ON COLUMN steep_repl.snapshots.looked_at IS 'When the source was last looked at (steep_repl.source_check_interval)';
COMMENT ON COLUMN steep_repl.snapshots.created_at IS 'When it was asked for';
COMMENT ON COLUMN steep_repl.snapshots.expires_at IS 'When it is dropped by itself; null is never';
COMMENT ON COLUMN steep_repl.snapshots.bytes IS 'Size of its files, once it is complete';
COMMENT ON COLUMN steep_repl.snapshots.tables IS 'Tables in it';
COMMENT ON COLUMN steep_repl.snapshots.tables_done IS 'Of them written so far';
COMMENT ON COLUMN steep_repl.snapshots.rows_done IS 'Rows written so far';
COMMENT ON COLUMN steep_repl.snapshots.bytes_done IS 'Share of bytes_total that is written';
COMMENT ON COLUMN steep_repl.snapshots.bytes_total IS 'Size of the tables on the source when planned';
COMMENT ON COLUMN steep_repl.snapshots.bytes_per_second IS 'Bytes of the tables written per second, lately';
COMMENT ON COLUMN steep_repl.snapshots.eta IS 'Expected time of the end; null while unknown';
COMMENT ON COLUMN steep_repl.snapshots.compression IS 'zstd, lz4, gzip or none';
COMMENT ON COLUMN steep_repl.snapshots.operation_id IS 'The operation; its tables are in table_progress, its events in events';
COMMENT ON COLUMN steep_repl.snapshots.sqlstate IS 'SQLSTATE of the error that stopped it; of a complete one of what keeps it from being looked after, or dropped in time';
COMMENT ON COLUMN steep_repl.snapshots.error IS 'Its message';
COMMENT ON COLUMN steep_repl.snapshots.detail IS 'Its detail';
COMMENT ON COLUMN steep_repl.snapshots.hint IS 'What to do about it';
