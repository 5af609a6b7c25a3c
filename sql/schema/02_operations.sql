-- What is being done to a node. One row an operation; the coordinator owns it from the commit of the call that made it.

CREATE TABLE steep_repl.operations (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    node              text NOT NULL,
    source            text NOT NULL,
    kind              text NOT NULL CHECK (kind IN ('init', 'refresh', 'prepare', 'generate')),
    method            text NOT NULL,
    status            text NOT NULL DEFAULT 'pending'
                          CHECK (status IN ('pending', 'running', 'cancelling', 'failed', 'cancelled', 'completed')),
    phase             text NOT NULL DEFAULT 'publication',
    options           jsonb NOT NULL,
    requested_by      regrole NOT NULL,
    -- Identity: who made this row, so that a copy of the database does not believe the operation is its own.
    system_identifier text NOT NULL,
    database          oid NOT NULL,
    -- Which of several servers with the same files: a base backup has the identity of its original in all else.
    instance          text NOT NULL,
    timeline          bigint NOT NULL,
    disowned          boolean NOT NULL DEFAULT false,
    token             text NOT NULL,
    -- What exists, or is about to exist, outside this row. Written before it is made.
    slot_name         text NOT NULL,
    publications      text[] NOT NULL,
    own_publications  boolean NOT NULL,
    publication_plan  jsonb NOT NULL,
    publication_mark  jsonb,
    identities        jsonb,
    -- Slot and publications were there before: start_lsn is given with them.
    prepared          boolean NOT NULL DEFAULT false,
    subscription      text NOT NULL,
    subscription_oid  oid,
    start_lsn         pg_lsn,
    snapshot          text,
    snapshot_lsn      pg_lsn,
    snapshot_contents text,
    snapshot_at       timestamptz,
    snapshot_expired  boolean NOT NULL DEFAULT false,
    awaits_snapshot   boolean NOT NULL DEFAULT true,
    keeper_number     integer NOT NULL DEFAULT 0,
    keeper_pid        integer,
    enable_lsn        pg_lsn,
    confirmed_at      timestamptz,
    -- Of a refresh: how the subscription was found.
    apply_stopped     boolean NOT NULL DEFAULT false,
    applied_lsn       pg_lsn,
    replaced_slot     text,
    own_transport     text CHECK (own_transport IN ('copy', 'pg_dump', 'basebackup')),
    -- Progress, written by the coordinator about twice a second.
    rows_done         bigint NOT NULL DEFAULT 0,
    bytes_done        bigint NOT NULL DEFAULT 0,
    bytes_total       bigint NOT NULL DEFAULT 0,
    rows_per_second   double precision,
    bytes_per_second  double precision,
    overall_percent   double precision NOT NULL DEFAULT 0,
    eta               timestamptz,
    lag_bytes         bigint,
    workers_active    integer NOT NULL DEFAULT 0,
    workers_planned   integer NOT NULL,
    attempts          integer NOT NULL DEFAULT 0,
    created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at        timestamptz,
    resumed_at        timestamptz,
    updated_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at       timestamptz,
    error             jsonb
);

-- One unfinished operation per node: a failed one must be resumed or cancelled first. What a copy of the database has brought along
-- is not the copy's.
CREATE UNIQUE INDEX operations_one_unfinished ON steep_repl.operations (node, system_identifier, database, instance)
    WHERE kind IN ('init', 'refresh') AND status IN ('pending', 'running', 'cancelling', 'failed');

COMMENT ON TABLE steep_repl.operations IS 'Operations on nodes, one row each, kept when finished';
COMMENT ON COLUMN steep_repl.operations.id IS 'Number of the operation';
COMMENT ON COLUMN steep_repl.operations.node IS 'Node that is being worked on';
COMMENT ON COLUMN steep_repl.operations.source IS 'Node the data comes from';
COMMENT ON COLUMN steep_repl.operations.kind IS 'What is done: init; refresh: tables that are new on the source join the subscription; prepare: a slot is made and kept for somebody''s own backup; generate: a portable snapshot is written';
COMMENT ON COLUMN steep_repl.operations.method IS 'How it is done: parallel; snapshot: by the server''s own table synchronization; manual: the rows came by somebody''s own backup; two_phase: by a portable snapshot';
COMMENT ON COLUMN steep_repl.operations.status IS 'pending, running, cancelling, failed, cancelled or completed';
COMMENT ON COLUMN steep_repl.operations.phase IS 'Step the operation is in: schema, adopt, publication, slot, held, subscription, verify, tables, files, copy, indexes, sequences, enable, catchup, done; each kind and method has its own of them';
COMMENT ON COLUMN steep_repl.operations.options IS 'Arguments and settings as they were resolved when the operation was requested';
COMMENT ON COLUMN steep_repl.operations.requested_by IS 'Role that asked; all work on user tables is done with its rights';
COMMENT ON COLUMN steep_repl.operations.system_identifier IS 'System identifier of the cluster that made this row';
COMMENT ON COLUMN steep_repl.operations.database IS 'OID of the database that made this row';
COMMENT ON COLUMN steep_repl.operations.instance IS 'Instance that has the operation: inode number and time of birth of the file PG_VERSION of its data directory';
COMMENT ON COLUMN steep_repl.operations.timeline IS 'Timeline that this instance was on';
COMMENT ON COLUMN steep_repl.operations.disowned IS 'True in a copy of the server: the operation is the original''s';
COMMENT ON COLUMN steep_repl.operations.token IS 'Random identity; everything made for the operation carries it in its name';
COMMENT ON COLUMN steep_repl.operations.slot_name IS 'Replication slot on the source';
COMMENT ON COLUMN steep_repl.operations.publications IS 'Publications on the source that the subscription uses';
COMMENT ON COLUMN steep_repl.operations.own_publications IS 'True when the operation makes the publications itself';
COMMENT ON COLUMN steep_repl.operations.publication_plan IS 'Tables that the publications are to hold, and those that get REPLICA IDENTITY FULL';
COMMENT ON COLUMN steep_repl.operations.publication_mark IS 'What the publications were when the slot was made; they must stay so until the node is synchronized';
COMMENT ON COLUMN steep_repl.operations.identities IS 'Replica identities on the source before they were changed: schema, name, relreplident, index';
COMMENT ON COLUMN steep_repl.operations.prepared IS 'True when slot and publications were made beforehand, by prepare_init or generate_snapshot';
COMMENT ON COLUMN steep_repl.operations.subscription IS 'Subscription on this node';
COMMENT ON COLUMN steep_repl.operations.subscription_oid IS 'OID of the subscription, once made';
COMMENT ON COLUMN steep_repl.operations.start_lsn IS 'Source LSN from which changes are replicated';
COMMENT ON COLUMN steep_repl.operations.snapshot IS 'Exported snapshot on the source that the copy workers import';
COMMENT ON COLUMN steep_repl.operations.snapshot_lsn IS 'Source LSN that the snapshot stands for';
COMMENT ON COLUMN steep_repl.operations.snapshot_contents IS 'pg_current_snapshot() under it, since names come again after a restart of the source';
COMMENT ON COLUMN steep_repl.operations.snapshot_at IS 'When the snapshot was taken';
COMMENT ON COLUMN steep_repl.operations.snapshot_expired IS 'True when it is older than max_snapshot_age: only tables that are begun are still copied under it';
COMMENT ON COLUMN steep_repl.operations.keeper_number IS 'Which of the keepers started so far may set the snapshot';
COMMENT ON COLUMN steep_repl.operations.awaits_snapshot IS 'True when no table holds rows of an earlier snapshot, so that a new one may be taken';
COMMENT ON COLUMN steep_repl.operations.keeper_pid IS 'Process that keeps the snapshot alive';
COMMENT ON COLUMN steep_repl.operations.confirmed_at IS 'When somebody let it go on although the schemas differ (schema_sync manual)';
COMMENT ON COLUMN steep_repl.operations.enable_lsn IS 'Source LSN when the subscription was enabled; the node is synchronized once it has passed it';
COMMENT ON COLUMN steep_repl.operations.apply_stopped IS 'True while the refresh has the subscription disabled';
COMMENT ON COLUMN steep_repl.operations.applied_lsn IS 'Up to where the subscription''s other tables were when the refresh stopped it';
COMMENT ON COLUMN steep_repl.operations.replaced_slot IS 'Slot that the subscription used before the tables of the refresh joined it';
COMMENT ON COLUMN steep_repl.operations.own_transport IS 'How the tables get here that the server does not copy itself; null when it copies all';
COMMENT ON COLUMN steep_repl.operations.rows_done IS 'Rows copied so far';
COMMENT ON COLUMN steep_repl.operations.bytes_done IS 'Bytes copied so far, as a share of bytes_total';
COMMENT ON COLUMN steep_repl.operations.bytes_total IS 'Size of the tables on the source when the operation was planned, in bytes, TOAST included';
COMMENT ON COLUMN steep_repl.operations.rows_per_second IS 'Rows copied per second, lately';
COMMENT ON COLUMN steep_repl.operations.bytes_per_second IS 'Bytes copied per second, lately';
COMMENT ON COLUMN steep_repl.operations.overall_percent IS 'Share of all work done, 0 to 100; never falls, 100 only at the end';
COMMENT ON COLUMN steep_repl.operations.eta IS 'Expected time of the end; null while unknown';
COMMENT ON COLUMN steep_repl.operations.lag_bytes IS 'Bytes of WAL the node is behind the source while catching up; as it was at the end once complete';
COMMENT ON COLUMN steep_repl.operations.workers_active IS 'Copy workers, or the server''s table synchronization workers, running now';
COMMENT ON COLUMN steep_repl.operations.workers_planned IS 'Copy workers asked for; while the server copies max_sync_workers_per_subscription';
COMMENT ON COLUMN steep_repl.operations.attempts IS 'Times a coordinator took the operation up';
COMMENT ON COLUMN steep_repl.operations.created_at IS 'When it was requested';
COMMENT ON COLUMN steep_repl.operations.started_at IS 'When work began';
COMMENT ON COLUMN steep_repl.operations.resumed_at IS 'When it was last resumed after a failure';
COMMENT ON COLUMN steep_repl.operations.updated_at IS 'When the coordinator last reported';
COMMENT ON COLUMN steep_repl.operations.finished_at IS 'When it ended, however it ended';
COMMENT ON COLUMN steep_repl.operations.error IS 'The error that stopped it: sqlstate, message, detail, hint';

CREATE TABLE steep_repl.operation_tables (
    operation_id    bigint NOT NULL REFERENCES steep_repl.operations ON DELETE CASCADE,
    relid           oid NOT NULL,
    ordinal         integer NOT NULL,
    table_schema    text NOT NULL,
    table_name      text NOT NULL,
    source_relid    oid NOT NULL,
    columns         text[] NOT NULL,
    column_numbers  smallint[] NOT NULL,
    column_types    text[] NOT NULL,
    format          text NOT NULL CHECK (format IN ('binary', 'text')),
    transport       text NOT NULL CHECK (transport IN ('copy', 'server', 'pg_dump', 'basebackup')),
    small           boolean NOT NULL,
    keeps_indexes   boolean NOT NULL,
    heap            boolean NOT NULL,
    packed          boolean NOT NULL,
    insert_only     boolean NOT NULL,
    pages           bigint NOT NULL,
    bytes_total     bigint NOT NULL,
    rows_estimated  double precision NOT NULL,
    snapshot_lsn    pg_lsn,
    source_filenode oid,
    source_natts    smallint,
    status          text NOT NULL DEFAULT 'waiting'
                        CHECK (status IN ('waiting', 'copying', 'deferred', 'indexing', 'vacuuming', 'done', 'failed')),
    copies_left     integer NOT NULL DEFAULT 0,
    indexes_left    integer NOT NULL DEFAULT 0,
    frozen          boolean NOT NULL DEFAULT true,
    rows_done       bigint NOT NULL DEFAULT 0,
    bytes_done      bigint NOT NULL DEFAULT 0,
    copy_ms         double precision NOT NULL DEFAULT 0,
    index_ms        double precision NOT NULL DEFAULT 0,
    attempts        integer NOT NULL DEFAULT 0,
    deferrals       integer NOT NULL DEFAULT 0,
    started_at      timestamptz,
    finished_at     timestamptz,
    error           jsonb,
    PRIMARY KEY (operation_id, relid)
);

COMMENT ON TABLE steep_repl.operation_tables IS 'Tables of an operation: the plan, and how far each is';
COMMENT ON COLUMN steep_repl.operation_tables.operation_id IS 'The operation';
COMMENT ON COLUMN steep_repl.operation_tables.relid IS 'OID of the table on this node';
COMMENT ON COLUMN steep_repl.operation_tables.ordinal IS 'Place in the plan, largest first';
COMMENT ON COLUMN steep_repl.operation_tables.table_schema IS 'Schema of the table';
COMMENT ON COLUMN steep_repl.operation_tables.table_name IS 'Name of the table';
COMMENT ON COLUMN steep_repl.operation_tables.source_relid IS 'OID of the table on the source';
COMMENT ON COLUMN steep_repl.operation_tables.columns IS 'Columns that are copied';
COMMENT ON COLUMN steep_repl.operation_tables.column_numbers IS 'Their attnum on the source: a column that is dropped and added again is another one';
COMMENT ON COLUMN steep_repl.operation_tables.column_types IS 'Their types on the source';
COMMENT ON COLUMN steep_repl.operation_tables.format IS 'COPY format: binary where every type travels safely, text otherwise';
COMMENT ON COLUMN steep_repl.operation_tables.transport IS 'How its rows get here: copy: by copy workers from the source; server: by the server''s own table synchronization; pg_dump: by pg_dump; basebackup: by copy workers from a base backup of the source';
COMMENT ON COLUMN steep_repl.operation_tables.small IS 'True when the table is copied in a batch with others';
COMMENT ON COLUMN steep_repl.operation_tables.keeps_indexes IS 'True when the table keeps its indexes during the load: a small one, or one that joins a subscription';
COMMENT ON COLUMN steep_repl.operation_tables.heap IS 'True when the table is of access method heap on the source, so that it can be cut in ctid ranges';
COMMENT ON COLUMN steep_repl.operation_tables.packed IS 'True when its pages on the source are about full by its statistics, so that a range of blocks there is a range of blocks here';
COMMENT ON COLUMN steep_repl.operation_tables.insert_only IS 'True when updates and deletes are not replicated: the table has no replica identity';
COMMENT ON COLUMN steep_repl.operation_tables.pages IS 'Blocks of the main fork on the source when planned';
COMMENT ON COLUMN steep_repl.operation_tables.bytes_total IS 'pg_table_size() on the source when planned, in bytes';
COMMENT ON COLUMN steep_repl.operation_tables.rows_estimated IS 'Rows on the source by its statistics, -1 when unknown';
COMMENT ON COLUMN steep_repl.operation_tables.snapshot_lsn IS 'LSN of the snapshot the table was copied under';
COMMENT ON COLUMN steep_repl.operation_tables.source_filenode IS 'pg_class.relfilenode on the source under that snapshot; of method snapshot before the copy';
COMMENT ON COLUMN steep_repl.operation_tables.source_natts IS 'pg_class.relnatts on the source under that snapshot, of method snapshot before the copy: what has a higher number came later';
COMMENT ON COLUMN steep_repl.operation_tables.status IS 'waiting, copying, deferred (to a later snapshot), indexing, vacuuming, done or failed';
COMMENT ON COLUMN steep_repl.operation_tables.copies_left IS 'Copy tasks not yet done';
COMMENT ON COLUMN steep_repl.operation_tables.indexes_left IS 'Index builds not yet done';
COMMENT ON COLUMN steep_repl.operation_tables.frozen IS 'False once a copy was done that did not load its rows frozen';
COMMENT ON COLUMN steep_repl.operation_tables.rows_done IS 'Rows copied and committed; of method snapshot those that were here when it was done, by statistics';
COMMENT ON COLUMN steep_repl.operation_tables.bytes_done IS 'Share of bytes_total that is copied and committed';
COMMENT ON COLUMN steep_repl.operation_tables.copy_ms IS 'Time spent copying, summed over the workers, in milliseconds';
COMMENT ON COLUMN steep_repl.operation_tables.index_ms IS 'Time spent building indexes, summed over the workers, in milliseconds';
COMMENT ON COLUMN steep_repl.operation_tables.attempts IS 'Failed attempts';
COMMENT ON COLUMN steep_repl.operation_tables.deferrals IS 'Times it was put aside for a later snapshot since the operation was started or resumed';
COMMENT ON COLUMN steep_repl.operation_tables.started_at IS 'When the first row was asked for';
COMMENT ON COLUMN steep_repl.operation_tables.finished_at IS 'When the table was ready: rows, indexes, statistics';
COMMENT ON COLUMN steep_repl.operation_tables.error IS 'Last error: sqlstate, message, detail, hint';

CREATE TABLE steep_repl.tasks (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    operation_id  bigint NOT NULL,
    relid         oid NOT NULL,
    kind          text NOT NULL CHECK (kind IN ('copy', 'index', 'vacuum', 'verify')),
    position      integer NOT NULL,
    index_oid     oid,
    from_block    bigint,
    to_block      bigint,
    bytes         bigint NOT NULL,
    small         boolean NOT NULL DEFAULT false,
    status        text NOT NULL DEFAULT 'pending' CHECK (status IN ('waiting', 'pending', 'running', 'done', 'failed')),
    attempts      integer NOT NULL DEFAULT 0,
    claims        integer NOT NULL DEFAULT 0,
    not_before    timestamptz NOT NULL DEFAULT '-infinity',
    worker_pid    integer,
    rows_done     bigint NOT NULL DEFAULT 0,
    started_at    timestamptz,
    finished_at   timestamptz,
    error         jsonb,
    FOREIGN KEY (operation_id, relid) REFERENCES steep_repl.operation_tables ON DELETE CASCADE
);

CREATE INDEX tasks_claim ON steep_repl.tasks (operation_id, kind, position) WHERE status = 'pending';
CREATE INDEX tasks_unfinished ON steep_repl.tasks (operation_id, status) WHERE status <> 'done';
CREATE INDEX tasks_of_table ON steep_repl.tasks (operation_id, relid);

COMMENT ON TABLE steep_repl.tasks IS 'Units of work that the copy workers take: a copy of a table or of a range of it, an index build, a vacuum, a comparison';
COMMENT ON COLUMN steep_repl.tasks.id IS 'Number of the task';
COMMENT ON COLUMN steep_repl.tasks.operation_id IS 'The operation';
COMMENT ON COLUMN steep_repl.tasks.relid IS 'OID of the table on this node';
COMMENT ON COLUMN steep_repl.tasks.kind IS 'copy, index, vacuum, or verify: rows that came by a backup are compared with the source''s';
COMMENT ON COLUMN steep_repl.tasks.position IS 'Order among the tasks of a kind';
COMMENT ON COLUMN steep_repl.tasks.index_oid IS 'Index to build';
COMMENT ON COLUMN steep_repl.tasks.from_block IS 'First block of the range, null for a whole table';
COMMENT ON COLUMN steep_repl.tasks.to_block IS 'Block after the range, null when it is open-ended';
COMMENT ON COLUMN steep_repl.tasks.bytes IS 'Share of the size of the table, in bytes';
COMMENT ON COLUMN steep_repl.tasks.small IS 'True when it is taken in a batch with others';
COMMENT ON COLUMN steep_repl.tasks.status IS 'waiting (for tasks before it), pending, running, done or failed';
COMMENT ON COLUMN steep_repl.tasks.attempts IS 'Failed attempts';
COMMENT ON COLUMN steep_repl.tasks.claims IS 'Times a worker took it since its table was last empty';
COMMENT ON COLUMN steep_repl.tasks.not_before IS 'Not to be tried again before this time';
COMMENT ON COLUMN steep_repl.tasks.worker_pid IS 'Worker that has or had it';
COMMENT ON COLUMN steep_repl.tasks.rows_done IS 'Rows copied';
COMMENT ON COLUMN steep_repl.tasks.started_at IS 'When it was taken';
COMMENT ON COLUMN steep_repl.tasks.finished_at IS 'When it was done';
COMMENT ON COLUMN steep_repl.tasks.error IS 'Last error: sqlstate, message, detail, hint';

-- Written before an index is switched off, so that its definition survives whatever happens to it meanwhile.
CREATE TABLE steep_repl.suspended_indexes (
    operation_id    bigint NOT NULL,
    index_oid       oid NOT NULL,
    relid           oid NOT NULL,
    index_schema    text NOT NULL,
    index_name      text NOT NULL,
    definition      text NOT NULL,
    constraint_name text,
    constraint_def  text,
    is_unique       boolean NOT NULL,
    restored_at     timestamptz,
    PRIMARY KEY (operation_id, index_oid),
    FOREIGN KEY (operation_id, relid) REFERENCES steep_repl.operation_tables ON DELETE CASCADE
);

COMMENT ON TABLE steep_repl.suspended_indexes IS 'Indexes switched off during a load, to be built after it';
COMMENT ON COLUMN steep_repl.suspended_indexes.operation_id IS 'The operation';
COMMENT ON COLUMN steep_repl.suspended_indexes.index_oid IS 'OID of the index';
COMMENT ON COLUMN steep_repl.suspended_indexes.relid IS 'OID of its table';
COMMENT ON COLUMN steep_repl.suspended_indexes.index_schema IS 'Schema of the index';
COMMENT ON COLUMN steep_repl.suspended_indexes.index_name IS 'Name of the index';
COMMENT ON COLUMN steep_repl.suspended_indexes.definition IS 'pg_get_indexdef() when it was switched off';
COMMENT ON COLUMN steep_repl.suspended_indexes.constraint_name IS 'Constraint that the index serves';
COMMENT ON COLUMN steep_repl.suspended_indexes.constraint_def IS 'pg_get_constraintdef() of that constraint';
COMMENT ON COLUMN steep_repl.suspended_indexes.is_unique IS 'Whether the index is unique';
COMMENT ON COLUMN steep_repl.suspended_indexes.restored_at IS 'When it was built again; null while it is suspended';

-- NOT VALID constraints tolerate the old rows of the source but would reject them when they arrive as new ones.
CREATE TABLE steep_repl.suspended_constraints (
    operation_id    bigint NOT NULL,
    relid           oid NOT NULL,
    constraint_oid  oid NOT NULL,
    constraint_name text NOT NULL,
    contype         text NOT NULL,
    definition      text NOT NULL,
    comment         text,
    how             text NOT NULL CHECK (how IN ('not_enforced', 'dropped')),
    restored_at     timestamptz,
    PRIMARY KEY (operation_id, constraint_oid),
    FOREIGN KEY (operation_id) REFERENCES steep_repl.operations ON DELETE CASCADE
);

COMMENT ON TABLE steep_repl.suspended_constraints IS 'NOT VALID constraints set aside during a load, to be put back after it';
COMMENT ON COLUMN steep_repl.suspended_constraints.operation_id IS 'The operation';
COMMENT ON COLUMN steep_repl.suspended_constraints.relid IS 'OID of the table that has the constraint';
COMMENT ON COLUMN steep_repl.suspended_constraints.constraint_oid IS 'OID of the constraint when it was set aside';
COMMENT ON COLUMN steep_repl.suspended_constraints.constraint_name IS 'Name of the constraint';
COMMENT ON COLUMN steep_repl.suspended_constraints.contype IS 'c: CHECK, n: NOT NULL';
COMMENT ON COLUMN steep_repl.suspended_constraints.definition IS 'pg_get_constraintdef() of the constraint';
COMMENT ON COLUMN steep_repl.suspended_constraints.comment IS 'Comment on the constraint';
COMMENT ON COLUMN steep_repl.suspended_constraints.how IS 'not_enforced: switched off in place; dropped: to be added again';
COMMENT ON COLUMN steep_repl.suspended_constraints.restored_at IS 'When it was put back; null while it is set aside';
