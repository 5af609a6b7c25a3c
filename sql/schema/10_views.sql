-- What people and monitoring read. No view opens a user table: sizes are those of the plan.

CREATE VIEW steep_repl.init_progress AS
SELECT o.id AS operation_id,
       o.node,
       o.source,
       o.kind,
       o.method,
       n.state,
       o.phase,
       round(o.overall_percent::numeric, 1) AS overall_percent,
       t.tables_total,
       t.tables_done,
       t.current_tables,
       o.rows_done,
       o.bytes_done,
       o.bytes_total,
       round(o.rows_per_second::numeric) AS rows_per_second,
       round(o.bytes_per_second::numeric) AS bytes_per_second,
       o.workers_active,
       o.workers_planned,
       o.started_at,
       o.updated_at,
       o.eta,
       o.lag_bytes,
       CASE WHEN steep_repl.operation_owner(o.system_identifier, o.database::bigint, o.instance, o.timeline, o.disowned) = 'ours'
            THEN o.error ->> 'message' ELSE 'the operation is another database''s, this one is a copy' END AS error,
       -- Where it writes the files itself, that is the first half of the whole.
       CASE WHEN f.writes AND o.phase IN ('schema', 'publication', 'slot', 'subscription', 'tables', 'files')
            THEN round(least(o.overall_percent * 2, 100)::numeric, 1)
            WHEN f.writes THEN 100.0 END AS generation_percent,
       CASE WHEN f.writes THEN round(greatest(o.overall_percent * 2 - 100, 0)::numeric, 1)
            WHEN o.method = 'two_phase' THEN round(o.overall_percent::numeric, 1) END AS application_percent
FROM steep_repl.nodes n
JOIN LATERAL (SELECT * FROM steep_repl.operations p WHERE p.node = n.node AND p.kind IN ('init', 'refresh')
              ORDER BY p.id DESC LIMIT 1) o ON true
CROSS JOIN LATERAL (
    SELECT count(*) AS tables_total,
           count(*) FILTER (WHERE ot.status = 'done') AS tables_done,
           coalesce((SELECT array_agg(format('%I.%I', c.table_schema, c.table_name) ORDER BY c.ordinal)
                     FROM (SELECT DISTINCT k.relid FROM steep_repl.tasks k
                           WHERE k.operation_id = o.id AND k.status = 'running' LIMIT 64) r
                     JOIN steep_repl.operation_tables c ON c.operation_id = o.id AND c.relid = r.relid), '{}') AS current_tables
    FROM steep_repl.operation_tables ot WHERE ot.operation_id = o.id) t
CROSS JOIN LATERAL (SELECT o.method = 'two_phase' AND (o.options -> 'files' ->> 'passing')::boolean AS writes) f
ORDER BY o.node;

COMMENT ON VIEW steep_repl.init_progress IS 'Newest operation of each node, one row a node, ordered by node; at most a second old';
COMMENT ON COLUMN steep_repl.init_progress.operation_id IS 'Number of the operation';
COMMENT ON COLUMN steep_repl.init_progress.node IS 'Node that is being worked on';
COMMENT ON COLUMN steep_repl.init_progress.source IS 'Node the data comes from';
COMMENT ON COLUMN steep_repl.init_progress.kind IS 'What is done: init, or refresh: new tables join the subscription';
COMMENT ON COLUMN steep_repl.init_progress.method IS 'How it is done: parallel; snapshot: by the server''s own table synchronization; manual: the rows came by somebody''s own backup; two_phase: by a portable snapshot';
COMMENT ON COLUMN steep_repl.init_progress.state IS 'State of the node';
COMMENT ON COLUMN steep_repl.init_progress.phase IS 'Step: schema (unless schema_sync is strict), adopt (of a physical copy), publication, slot, subscription, verify (of a backup), tables, files (that method two_phase writes), copy, indexes, sequences, enable, catchup, done';
COMMENT ON COLUMN steep_repl.init_progress.overall_percent IS 'Share of all work done, 0 to 100; never falls, 100 only at the end';
COMMENT ON COLUMN steep_repl.init_progress.tables_total IS 'Tables of the plan';
COMMENT ON COLUMN steep_repl.init_progress.tables_done IS 'Tables that are ready: rows, indexes, statistics';
COMMENT ON COLUMN steep_repl.init_progress.current_tables IS 'Tables being worked on, at most 64, largest first';
COMMENT ON COLUMN steep_repl.init_progress.rows_done IS 'Rows copied';
COMMENT ON COLUMN steep_repl.init_progress.bytes_done IS 'Bytes copied, as a share of bytes_total';
COMMENT ON COLUMN steep_repl.init_progress.bytes_total IS 'Size of the tables on the source when planned, in bytes, TOAST included, indexes not';
COMMENT ON COLUMN steep_repl.init_progress.rows_per_second IS 'Rows copied per second over the last 10 seconds; null when nothing is copied';
COMMENT ON COLUMN steep_repl.init_progress.bytes_per_second IS 'Bytes copied per second over the last 10 seconds; null when nothing is copied';
COMMENT ON COLUMN steep_repl.init_progress.workers_active IS 'Copy workers, or the server''s table synchronization workers, running';
COMMENT ON COLUMN steep_repl.init_progress.workers_planned IS 'Copy workers asked for; while the server copies max_sync_workers_per_subscription';
COMMENT ON COLUMN steep_repl.init_progress.started_at IS 'When work began';
COMMENT ON COLUMN steep_repl.init_progress.updated_at IS 'When the figures were taken';
COMMENT ON COLUMN steep_repl.init_progress.eta IS 'Expected time of the end; null while unknown';
COMMENT ON COLUMN steep_repl.init_progress.lag_bytes IS 'Bytes of WAL the node is behind the source while catching up; as it was at the end once complete';
COMMENT ON COLUMN steep_repl.init_progress.error IS 'What stopped the operation, or that it is not this database''s; cause and cure are in node_status';

COMMENT ON COLUMN steep_repl.init_progress.generation_percent IS 'Of method two_phase: share of the files that is written, 0 to 100; null where they were there beforehand';
COMMENT ON COLUMN steep_repl.init_progress.application_percent IS 'Of method two_phase: share of the work done once the files are there, 0 to 100';

CREATE VIEW steep_repl.table_progress AS
SELECT t.operation_id,
       t.table_schema,
       t.table_name,
       t.status,
       CASE t.status WHEN 'copying' THEN 'copy' WHEN 'deferred' THEN 'copy' WHEN 'indexing' THEN 'index'
                     WHEN 'vacuuming' THEN 'vacuum' END AS phase,
       round((100 * CASE
           WHEN t.status = 'done' THEN 1
           WHEN t.status = 'indexing' THEN (1 + 0.3 * coalesce(l.index_share, 0)) / 1.4
           WHEN t.status = 'vacuuming' THEN 1.3 / 1.4
           WHEN t.bytes_total > 0
               THEN least(t.bytes_done::double precision / t.bytes_total + coalesce(l.copied_share, 0), 0.99)
                    -- The server builds indexes along with the rows.
                    / CASE WHEN t.transport = 'server' OR o.kind = 'generate' THEN 1 ELSE 1.4 END
           ELSE 0 END)::numeric, 1) AS percent,
       t.rows_done + coalesce(l.rows_arrived, 0) AS rows_done,
       t.bytes_done + (coalesce(l.copied_share, 0) * t.bytes_total)::bigint AS bytes_done,
       t.bytes_total,
       t.attempts,
       t.started_at,
       t.finished_at,
       t.copy_ms,
       t.index_ms,
       CASE WHEN t.status <> 'done' THEN t.error ->> 'message' END AS error,
       CASE WHEN o.kind = 'init' AND o.method = 'two_phase' THEN 'files'
            WHEN o.method = 'manual' THEN 'backup'
            ELSE t.transport END AS transport
FROM steep_repl.operation_tables t
JOIN steep_repl.operations o ON o.id = t.operation_id
LEFT JOIN steep_repl.live_progress() l ON l.operation_id = t.operation_id AND l.relid = t.relid::bigint
ORDER BY t.operation_id, t.ordinal;

COMMENT ON VIEW steep_repl.table_progress IS 'Tables of all operations, one row each, ordered by operation and size';
COMMENT ON COLUMN steep_repl.table_progress.operation_id IS 'Number of the operation';
COMMENT ON COLUMN steep_repl.table_progress.table_schema IS 'Schema of the table';
COMMENT ON COLUMN steep_repl.table_progress.table_name IS 'Name of the table';
COMMENT ON COLUMN steep_repl.table_progress.status IS 'waiting, copying, deferred (to a later snapshot), indexing, vacuuming, done or failed';
COMMENT ON COLUMN steep_repl.table_progress.phase IS 'copy, index or vacuum; null when waiting, done or failed';
COMMENT ON COLUMN steep_repl.table_progress.percent IS 'Share of the work on the table done, 0 to 100';
COMMENT ON COLUMN steep_repl.table_progress.rows_done IS 'Rows copied, those not yet committed among them';
COMMENT ON COLUMN steep_repl.table_progress.bytes_done IS 'Bytes copied, as a share of bytes_total';
COMMENT ON COLUMN steep_repl.table_progress.bytes_total IS 'pg_table_size() on the source when planned, in bytes';
COMMENT ON COLUMN steep_repl.table_progress.attempts IS 'Failed attempts';
COMMENT ON COLUMN steep_repl.table_progress.started_at IS 'When its copy began';
COMMENT ON COLUMN steep_repl.table_progress.finished_at IS 'When it was ready: rows, indexes, statistics';
COMMENT ON COLUMN steep_repl.table_progress.copy_ms IS 'Time spent copying, summed over the workers, in milliseconds';
COMMENT ON COLUMN steep_repl.table_progress.index_ms IS 'Time spent building indexes, summed over the workers, in milliseconds';
COMMENT ON COLUMN steep_repl.table_progress.error IS 'Last error of a task of the table';
COMMENT ON COLUMN steep_repl.table_progress.transport IS 'How its rows get here, or into the files of a portable snapshot: copy: by copy workers from the source; server: by the server''s own table synchronization; pg_dump: by pg_dump; basebackup: by copy workers from a base backup of the source; files: from a portable snapshot; backup: they came by somebody''s own';

CREATE VIEW steep_repl.node_status AS
SELECT n.node,
       n.is_local,
       n.state,
       n.source,
       CASE WHEN n.health = 'ok' AND (i.suspended > 0 AND o.status IN ('failed', 'cancelling') OR c.pending > 0 OR f.subscribes)
            THEN 'warning'
            ELSE n.health END AS health,
       o.id AS operation_id,
       o.status AS operation_status,
       o.phase,
       nullif(concat_ws('; ', CASE WHEN f.owner <> 'ours' THEN 'the operation is another database''s, this one is a copy' END,
                        CASE WHEN f.subscribes THEN 'its subscription is enabled here and competes for the slot of the original' END,
                        CASE WHEN i.suspended > 0 THEN format('%s %s suspended', i.suspended, CASE WHEN i.suspended = 1 THEN 'index' ELSE 'indexes' END) END,
                        CASE WHEN o.id IN (SELECT steep_repl.operations_without_worker())
                             THEN 'waits for a background worker: max_worker_processes is used up' END,
                        CASE WHEN c.pending > 0 THEN 'clean-up pending' END), '') AS notice,
       n.last_error ->> 'sqlstate' AS sqlstate,
       n.last_error ->> 'message' AS last_error,
       n.last_error ->> 'detail' AS detail,
       CASE f.owner WHEN 'elsewhere' THEN 'Use steep_repl.unregister_node(node) here, and register the node anew.'
                    WHEN 'original' THEN 'Use steep_repl.unregister_node(node) here, and register the node anew; or, if the original is '
                        'gone for good, steep_repl.adopt_init(node).'
                    ELSE n.last_error ->> 'hint' END AS hint,
       CASE WHEN n.is_local AND n.state IN ('SYNCHRONIZED', 'DIVERGED') THEN
           ARRAY(SELECT format('%I.%I', u.table_schema, u.table_name) FROM steep_repl.unsubscribed_tables u
                 WHERE u.node = n.node ORDER BY u.table_schema, u.table_name) END AS tables_not_subscribed,
       steep_repl.redact_conninfo(n.conninfo) AS conninfo,
       n.owner,
       n.updated_at
FROM steep_repl.nodes n
LEFT JOIN LATERAL (SELECT * FROM steep_repl.operations p WHERE p.node = n.node AND p.kind IN ('init', 'refresh')
                   ORDER BY p.id DESC LIMIT 1) o ON true
LEFT JOIN LATERAL (SELECT count(*) AS suspended FROM steep_repl.suspended_indexes s
                   WHERE s.operation_id = o.id AND s.restored_at IS NULL AND o.status <> 'completed') i ON true
LEFT JOIN LATERAL (SELECT w.owner, w.owner = 'original' AND EXISTS (
                       SELECT FROM pg_subscription s WHERE s.oid = o.subscription_oid AND s.subname = o.subscription AND s.subenabled) AS subscribes
                   FROM (SELECT steep_repl.operation_owner(o.system_identifier, o.database::bigint, o.instance, o.timeline, o.disowned) AS owner) w) f ON true
LEFT JOIN LATERAL (SELECT count(*) AS pending FROM steep_repl.cleanup k JOIN steep_repl.operations p ON p.id = k.operation_id
                   WHERE p.node = n.node
                     AND steep_repl.operation_owner(p.system_identifier, p.database::bigint, p.instance, p.timeline, p.disowned) = 'ours') c ON true
ORDER BY n.node;

COMMENT ON VIEW steep_repl.node_status IS 'Registered nodes, one row each, ordered by node: state, and what is wrong and what to do about it';
COMMENT ON COLUMN steep_repl.node_status.node IS 'Name of the node';
COMMENT ON COLUMN steep_repl.node_status.is_local IS 'True for the node that is this very database';
COMMENT ON COLUMN steep_repl.node_status.state IS 'UNINITIALIZED, PREPARING, COPYING, CATCHING_UP, SYNCHRONIZED, DIVERGED, FAILED or REINITIALIZING';
COMMENT ON COLUMN steep_repl.node_status.source IS 'Node that it was or is being initialized from';
COMMENT ON COLUMN steep_repl.node_status.health IS 'ok, warning or error';
COMMENT ON COLUMN steep_repl.node_status.operation_id IS 'Its newest operation';
COMMENT ON COLUMN steep_repl.node_status.operation_status IS 'pending, running, cancelling, failed, cancelled or completed';
COMMENT ON COLUMN steep_repl.node_status.phase IS 'Step the operation is in';
COMMENT ON COLUMN steep_repl.node_status.notice IS 'What to know while it lasts; with indexes suspended a pg_dump of this database lacks them';
COMMENT ON COLUMN steep_repl.node_status.sqlstate IS 'SQLSTATE of the error that made the node FAILED, or that stopped its refresh';
COMMENT ON COLUMN steep_repl.node_status.last_error IS 'Its message';
COMMENT ON COLUMN steep_repl.node_status.detail IS 'Its detail';
COMMENT ON COLUMN steep_repl.node_status.hint IS 'What to do about it';
COMMENT ON COLUMN steep_repl.node_status.tables_not_subscribed IS 'Tables of the source that are not replicated, as of the last look (steep_repl.source_check_interval); refresh_tables(node) brings them in; null before the node is SYNCHRONIZED';
COMMENT ON COLUMN steep_repl.node_status.conninfo IS 'Connection string without secrets';
COMMENT ON COLUMN steep_repl.node_status.owner IS 'Role that registered the node';
COMMENT ON COLUMN steep_repl.node_status.updated_at IS 'When the state last changed';

CREATE VIEW steep_repl.pending_cleanup AS
SELECT c.operation_id,
       o.node,
       o.source,
       c.kind,
       c.attempts,
       c.next_try,
       CASE WHEN w.owner = 'ours' THEN c.error ->> 'message' ELSE 'the operation is another database''s, this one is a copy' END AS error,
       CASE WHEN w.owner = 'ours' THEN c.error ->> 'hint' ELSE 'Nothing is done about it here; see steep_repl.node_status.' END AS hint,
       coalesce(o.replaced_slot, o.slot_name) AS slot_name,
       CASE WHEN o.own_publications AND o.kind <> 'refresh' AND NOT (o.prepared AND o.enable_lsn IS NULL) THEN o.publications END AS publications
FROM steep_repl.cleanup c JOIN steep_repl.operations o ON o.id = c.operation_id
CROSS JOIN LATERAL (SELECT steep_repl.operation_owner(o.system_identifier, o.database::bigint, o.instance, o.timeline, o.disowned) AS owner) w
ORDER BY c.operation_id, c.kind;

COMMENT ON VIEW steep_repl.pending_cleanup IS 'What cancelled operations have still to take away, ordered by operation; retried until it is gone';
COMMENT ON COLUMN steep_repl.pending_cleanup.operation_id IS 'The cancelled operation';
COMMENT ON COLUMN steep_repl.pending_cleanup.node IS 'Its node';
COMMENT ON COLUMN steep_repl.pending_cleanup.source IS 'Its source';
COMMENT ON COLUMN steep_repl.pending_cleanup.kind IS 'subscription, tables, constraints, indexes, schema, scratch, files (here) or source (slot, publications, replica identities there)';
COMMENT ON COLUMN steep_repl.pending_cleanup.attempts IS 'Failed attempts';
COMMENT ON COLUMN steep_repl.pending_cleanup.next_try IS 'When it is tried again';
COMMENT ON COLUMN steep_repl.pending_cleanup.error IS 'What stopped the last attempt';
COMMENT ON COLUMN steep_repl.pending_cleanup.hint IS 'What to do about it';
COMMENT ON COLUMN steep_repl.pending_cleanup.slot_name IS 'Slot on the source that is to go; of a portable snapshot the first one: the others have its name with _target2 and so on behind it';
COMMENT ON COLUMN steep_repl.pending_cleanup.publications IS 'Publications on the source that are to go; null when they are in use: the user''s, or those that a refresh has added tables to, those of a slot that is kept';

CREATE VIEW steep_repl.metrics AS
SELECT m.name, m.node, m.value
FROM steep_repl.init_progress p
CROSS JOIN LATERAL (VALUES
    ('steep_repl_init_percent', p.node, p.overall_percent::double precision),
    ('steep_repl_init_rows', p.node, p.rows_done::double precision),
    ('steep_repl_init_bytes', p.node, p.bytes_done::double precision),
    ('steep_repl_init_bytes_total', p.node, p.bytes_total::double precision),
    ('steep_repl_init_tables_done', p.node, p.tables_done::double precision),
    ('steep_repl_init_tables_total', p.node, p.tables_total::double precision),
    ('steep_repl_init_lag_bytes', p.node, p.lag_bytes::double precision),
    ('steep_repl_init_eta_seconds', p.node, CASE WHEN p.eta IS NOT NULL THEN greatest(extract(epoch FROM p.eta - clock_timestamp()), 0) END::double precision),
    ('steep_repl_node_healthy', p.node, (p.state <> 'FAILED')::integer::double precision)) AS m (name, node, value)
WHERE m.value IS NOT NULL
ORDER BY m.node, m.name;

COMMENT ON VIEW steep_repl.metrics IS 'The same figures by name, for monitoring; ordered by node and name';
COMMENT ON COLUMN steep_repl.metrics.name IS 'Name of the figure, with its unit';
COMMENT ON COLUMN steep_repl.metrics.node IS 'Node it is about';
COMMENT ON COLUMN steep_repl.metrics.value IS 'Its value';

CREATE VIEW steep_repl.schema_drift AS
SELECT d.table_schema, d.table_name, d.status, d.difference, d.captured_at
FROM steep_repl.drift() d
ORDER BY d.table_schema, d.table_name;

COMMENT ON VIEW steep_repl.schema_drift IS 'Tables of this database that changed since capture_fingerprints(), in the schemas that it was asked for, new ones among them when it was for all; ordered by name';
COMMENT ON COLUMN steep_repl.schema_drift.table_schema IS 'Schema of the table';
COMMENT ON COLUMN steep_repl.schema_drift.table_name IS 'Name of the table';
COMMENT ON COLUMN steep_repl.schema_drift.status IS 'CHANGED, ADDED, DROPPED, or BUSY: somebody has it locked';
COMMENT ON COLUMN steep_repl.schema_drift.difference IS 'What changed, in words';
COMMENT ON COLUMN steep_repl.schema_drift.captured_at IS 'When it was captured; null when it was added since';
