-- Nobody but the extension's owner writes its tables; conninfo may hold a password and is shown redacted only. Who may create
-- subscriptions may use the functions, who may monitor may read the views; each function checks what its caller may do.

REVOKE ALL ON ALL TABLES IN SCHEMA steep_repl FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA steep_repl FROM PUBLIC;

GRANT USAGE ON SCHEMA steep_repl TO pg_create_subscription, pg_monitor;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA steep_repl TO pg_create_subscription;
GRANT EXECUTE ON FUNCTION steep_repl.live_progress, steep_repl.operations_without_worker, steep_repl.redact_conninfo, steep_repl.operation_owner,
    steep_repl.wait_for_init, steep_repl.wait_for_snapshot, steep_repl.drift TO pg_monitor;
GRANT SELECT ON steep_repl.init_progress, steep_repl.table_progress, steep_repl.node_status, steep_repl.metrics, steep_repl.events,
    steep_repl.pending_cleanup, steep_repl.init_slots, steep_repl.snapshots, steep_repl.schema_fingerprints, steep_repl.schema_drift
    TO pg_create_subscription, pg_monitor;

COMMENT ON FUNCTION steep_repl.register_node(text, text, boolean) IS
    'Registers a node by name and libpq connection string; is_local says that it is this very database';
COMMENT ON FUNCTION steep_repl.alter_node(text, text) IS
    'Gives a node, and the subscriptions to it, another connection string: another address or password of the same server; returns the number of subscriptions';
COMMENT ON FUNCTION steep_repl.unregister_node(text) IS
    'Forgets a node; refused while an operation uses it';
COMMENT ON FUNCTION steep_repl.init_node(text, text, text, text, integer, boolean, text[], text[], text, text, text, text, boolean, interval) IS
    'Initializes the local node from a source: copies its tables, builds indexes, catches up; returns the operation''s number at once';
COMMENT ON FUNCTION steep_repl.wait_for_init(text, interval) IS
    'Waits until the newest operation of a node has ended; raises its error when it failed, 57014 at the timeout; returns the state';
COMMENT ON FUNCTION steep_repl.preflight(text, text, text, text[], text[], text, text, boolean, text, text, text) IS
    'What init_node would say, all at once and without starting anything: one row a check, status ok, notice, warning or error';
COMMENT ON FUNCTION steep_repl.prepare_init(text, text, interval, text[], text[], text, text) IS
    'Makes a replication slot on a node, and keeps it with its snapshot for a backup of your own; returns its position and the commands that follow; see init_slots, complete_init, drop_init_slot';
COMMENT ON FUNCTION steep_repl.complete_init(text, text, pg_lsn, text, text, text, integer, text[], text[], text, boolean, boolean, interval) IS
    'Lets a node replicate whose rows came by a backup of your own, from the slot that prepare_init made; returns the operation''s number at once; see wait_for_init';
COMMENT ON FUNCTION steep_repl.drop_init_slot(text) IS
    'Releases a slot of prepare_init that nobody needs any more, with its snapshot and publications';
COMMENT ON FUNCTION steep_repl.generate_snapshot(text, text, text, integer, integer, text[], text[], text, text, interval) IS
    'Writes the tables of a node into files on this server, with replication slots that wait for targets; returns the identity of the snapshot at once; called again on the same path it goes on with a failed one; see snapshots';
COMMENT ON FUNCTION steep_repl.apply_snapshot(text, text, text, text, integer, boolean, interval) IS
    'Initializes the local node from the files of a snapshot on this server; returns the operation''s number at once; see init_progress';
COMMENT ON FUNCTION steep_repl.wait_for_snapshot(text, interval) IS
    'Waits until a snapshot is complete; raises its error when it failed, 57014 at the timeout';
COMMENT ON FUNCTION steep_repl.drop_snapshot(text) IS
    'Removes a snapshot, complete or not: its files, the replication slots that no target has taken, and its publications when none has';
COMMENT ON FUNCTION steep_repl.cancel_init(text) IS
    'Cancels the operation of a node and takes away all it has made on either side; what cannot be done now is in pending_cleanup';
COMMENT ON FUNCTION steep_repl.abandon_cleanup(text) IS
    'Gives up what ended operations of a node have still to take away on a source that is gone for good, slots and snapshots made of the node included; warns of what stays there';
COMMENT ON FUNCTION steep_repl.resume_init(text) IS
    'Goes on with the failed operation of a node after its last finished table; returns the operation''s number';
COMMENT ON FUNCTION steep_repl.confirm_init(text) IS
    'Lets an operation with schema_sync manual go on although the schemas differ; tables that cannot be copied are left out; returns the operation''s number';
COMMENT ON FUNCTION steep_repl.adopt_init(text) IS
    'Makes this server the owner of the operations of a node that it has as a copy of another server, which is gone for good; returns the newest one''s number';
COMMENT ON FUNCTION steep_repl.restore_indexes(text) IS
    'Builds the indexes again that a failed operation has left suspended, locking their tables until the transaction ends; returns how many; warns of those that cannot be built';
COMMENT ON FUNCTION steep_repl.refresh_tables(text, text[], boolean, text) IS
    'Brings in tables and partitions that came to the source after the node was initialized, while all others replicate; returns the operation''s number, null when there are none';
COMMENT ON FUNCTION steep_repl.tables_not_subscribed(text) IS
    'Tables of the source that are not replicated to the node, by a look at the source now; ordered by name; node_status shows the last look';
COMMENT ON FUNCTION steep_repl.sync_sequences(text) IS
    'Sets the sequences of the local node to where the source''s are, forward only; returns how many were moved';
COMMENT ON FUNCTION steep_repl.schema_fingerprint(regclass) IS
    'SHA-256 of a table''s columns, sorted by name: equal on two nodes where the columns are the same';
COMMENT ON FUNCTION steep_repl.schema_fingerprint(text, text) IS
    'SHA-256 of a table''s columns, by schema and name';
COMMENT ON FUNCTION steep_repl.capture_fingerprints(text[]) IS
    'Stores what the tables of this database, or of some schemas, are now; returns how many; schema_drift shows what changes afterwards';
COMMENT ON FUNCTION steep_repl.compare_schemas(text, text, text[]) IS
    'The tables of two nodes side by side, node_a being the reference: MATCH, MISMATCH, LOCAL_ONLY (only on node_a), REMOTE_ONLY (only on node_b) or BUSY (locked), and what differs in words; ordered by name';
COMMENT ON FUNCTION steep_repl.schema_diff(text, text, text) IS
    'What differs in one table, node_a being the reference: one row a difference, with the DDL that brings node_b in line, in the order in which it can be run; is_mismatch is false for notes';
COMMENT ON FUNCTION steep_repl.schema_sync_plan(text, text, text[], text[]) IS
    'What init_node with schema_sync auto would make and alter in this database, step by step, and what it would leave out; changes nothing';
COMMENT ON FUNCTION steep_repl.drift() IS
    'Tables that changed since they were captured; schema_drift is built on it';
COMMENT ON FUNCTION steep_repl.live_progress() IS
    'Progress of the tasks that run now, by table; the views are built on it';
COMMENT ON FUNCTION steep_repl.operation_owner(text, bigint, text, bigint, boolean) IS
    'Whose an operation is: ours, original (this server is a copy of the one that has it) or elsewhere; the views are built on it';
COMMENT ON FUNCTION steep_repl.operations_without_worker() IS
    'Operations of this database that wait because max_worker_processes is used up; node_status is built on it';
COMMENT ON FUNCTION steep_repl.redact_conninfo(text) IS
    'A connection string without its secrets';
