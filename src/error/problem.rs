//! SQLSTATE, detail and hint of every error: one match, so that none is without.

use super::Error;
use steep_repl_core::errors::Problem;

/// A list for a DETAIL: at most 50 lines, then how many there are more.
pub fn listed(lines: &[String]) -> String {
    const MOST: usize = 50;
    let mut text = lines.iter().take(MOST).cloned().collect::<Vec<_>>().join("\n");
    if lines.len() > MOST {
        text.push_str(&format!("\n... and {} more", lines.len() - MOST));
    }
    text
}

impl Error {
    /// SQLSTATE, message, detail and hint.
    pub fn problem(&self) -> Problem {
        use Error::*;
        if let Server(problem) = self {
            return (**problem).clone();
        }
        let (sqlstate, detail, hint): (&str, Option<String>, Option<String>) = match self {
            Server(_) => unreachable!("returned above"),
            Slot(about) => about.parts(),
            Subscription(about) => about.parts(),
            Program(about) => about.parts(),
            Source { problem, .. } => (&problem.sqlstate, problem.detail.clone(), problem.hint.clone()),
            SourceUnreachable { reason, node, .. } => (
                "08001",
                Some(reason.clone()),
                Some(format!(
                    "Check that the server is up and the connection string of node \"{node}\" right: host, port, database, \
                     user, password."
                )),
            ),
            SourceSilent { .. } => (
                "08006",
                Some("The connection is open, but the network between the two servers or the server itself is stuck.".to_owned()),
                Some("Check both; steep_repl.receive_timeout says how long to wait.".to_owned()),
            ),
            NodeUnknown { known, .. } => (
                "42704",
                None,
                Some(if known.is_empty() {
                    "No node is registered yet: use steep_repl.register_node(node, conninfo).".to_owned()
                } else {
                    format!("Registered nodes: {}.", known.join(", "))
                }),
            ),
            NodeExists { .. } => ("42710", None, Some("Use steep_repl.unregister_node(node) first.".to_owned())),
            LocalNodeExists { node } => (
                "42710",
                Some("A database is one node.".to_owned()),
                Some(format!("Use node \"{node}\", or steep_repl.unregister_node('{node}') first.")),
            ),
            NodeNotLocal { target, .. } => (
                "55000",
                Some("An operation is started in the database of the node that is to be initialized.".to_owned()),
                Some(format!(
                    "Connect to {target} and call it there; if that is this database, register it with is_local => true."
                )),
            ),
            SourceIsLocal { .. } => ("22023", None, Some("Name another registered node as the source.".to_owned())),
            NodeNotYours { owner, .. } => {
                ("42501", None, Some(format!("Only its owner \"{owner}\" and superusers may use it.")))
            }
            NodeName { .. } => ("42602", None, Some("A node name has 1 to 63 bytes.".to_owned())),
            OperationUnfinished { status, .. } => (
                "55006",
                None,
                Some(if status == "failed" {
                    "Use steep_repl.resume_init(node) to go on, or steep_repl.cancel_init(node) to undo it.".to_owned()
                } else {
                    "Watch it in steep_repl.init_progress, wait for it with steep_repl.wait_for_init(node), or cancel it \
                     with steep_repl.cancel_init(node)."
                        .to_owned()
                }),
            ),
            NodeKeeps { snapshots, slots, .. } => {
                let snapshots = snapshots.iter().map(|id| format!("steep_repl.drop_snapshot('{id}')"));
                let slots = slots.iter().map(|slot| format!("steep_repl.drop_init_slot('{slot}')"));
                let calls: Vec<String> = snapshots.chain(slots).collect();
                (
                    "55006",
                    Some("They hold back WAL there, and nobody could take them away without its connection string.".to_owned()),
                    Some(format!(
                        "Use {} first, and wait until that is done; for a node that is gone for good, then \
                         steep_repl.abandon_cleanup(node).",
                        calls.join(", ")
                    )),
                )
            }
            WrongState { hint, .. } => ("55000", None, Some(hint.clone())),
            ExtensionInUse { .. } => (
                "55006",
                None,
                Some(
                    "Wait for it, or use steep_repl.cancel_init(node) first; when only its source has still to be cleaned and is gone \
                     for good, steep_repl.abandon_cleanup(node)."
                        .to_owned(),
                ),
            ),
            ExtensionNeeded { .. } => (
                "55006",
                Some("Only the extension knows which indexes it has suspended and what it has made on the source.".to_owned()),
                Some("Use steep_repl.cancel_init(node) first.".to_owned()),
            ),
            Null { .. } => ("22004", None, Some("Give it a value.".to_owned())),
            ForeignOperation { of_original: true, .. } => (
                "55000",
                Some("This server is a copy; the slot, publication and subscription belong to the original.".to_owned()),
                Some(
                    "Unregister the node here and register it anew; or, if the original is gone for good (its data directory was \
                     moved here, or restored here from a backup), use steep_repl.adopt_init(node)."
                        .to_owned(),
                ),
            ),
            Standby => (
                "25006",
                Some("What its primary does is shown here, and nothing can be written.".to_owned()),
                Some("Call it on the primary, or promote this server first.".to_owned()),
            ),
            OwnOperation { .. } => (
                "55000",
                Some("There is nothing to adopt.".to_owned()),
                Some("See steep_repl.node_status for how it is, and what to do about it.".to_owned()),
            ),
            ForeignOperation { .. } => (
                "55000",
                Some("This database is a copy; its slot, publication and subscription belong to the original.".to_owned()),
                Some("Unregister the node here and register it anew.".to_owned()),
            ),
            CleanupPending { .. } => (
                "55006",
                None,
                Some("See steep_repl.pending_cleanup for what it waits for.".to_owned()),
            ),
            CleanupWaits { .. } => ("55006", None, Some("It is tried again by itself.".to_owned())),
            NoOperation { .. } => ("55000", None, Some("Start one with steep_repl.init_node(node, source).".to_owned())),
            NotPreloaded => (
                "55000",
                Some("Its launcher is started with the server.".to_owned()),
                Some(format!("Add this to postgresql.conf and restart the server: {}", Error::PRELOAD_LINE)),
            ),
            TooManyOperations { .. } => ("53000", None, Some("Wait until one of them has ended.".to_owned())),
            Conninfo { reason, .. } => (
                "42601",
                Some(reason.clone()),
                Some("Use libpq's form: 'host=... port=... dbname=... user=...' or a postgresql:// URI.".to_owned()),
            ),
            ConninfoFiles { .. } => (
                "42501",
                Some("They make the server read its own files.".to_owned()),
                Some("Only a superuser may use them.".to_owned()),
            ),
            PasswordRequired { .. } => (
                "2F003",
                Some("Without one the server would connect with credentials of its own.".to_owned()),
                Some("Add password=... to the connection string.".to_owned()),
            ),
            Argument { hint, .. } => ("22023", None, Some(hint.clone())),
            NotYet { hint, .. } => ("0A000", None, Some(hint.clone())),
            SourceSetting { hint, .. } => ("55000", None, Some(hint.clone())),
            Exhausted { node, setting, .. } => (
                "53400",
                None,
                Some(format!("Raise {setting} on node \"{node}\" and restart it, or drop what is not needed any more.")),
            ),
            Rights { hint, .. } | RightsHere { hint, .. } => ("42501", None, Some(hint.clone())),
            SourceVersion { .. } => ("0A000", None, Some("The source must run PostgreSQL 14 or later.".to_owned())),
            NoSuchSchema { .. } => (
                "3F000",
                None,
                Some("Names are folded to lower case unless they are double-quoted, as in SQL.".to_owned()),
            ),
            NotFound { .. } => (
                "42P01",
                None,
                Some("Names are folded to lower case unless they are double-quoted, as in SQL.".to_owned()),
            ),
            Ambiguous { .. } => ("42P09", None, Some("Qualify them with their schema.".to_owned())),
            NotEmpty { tables, .. } => (
                "55000",
                Some(listed(tables)),
                Some("Empty them, or use force => true to have exactly these tables truncated.".to_owned()),
            ),
            InvalidKeys { keys, .. } => (
                "55000",
                Some(listed(keys)),
                Some("REINDEX them: nothing enforces a key that is not valid, and no change finds its row by it.".to_owned()),
            ),
            SchemaMismatch { differences, .. } => (
                "42P15",
                Some(listed(differences)),
                Some("Make the tables match, by schema_sync => 'auto' if you like; see what differs and go on with 'manual'; or copy only those \
                     that match with tables => or schemas =>.".to_owned()),
            ),
            NoIdentity { tables, .. } => (
                "55000",
                Some(format!(
                    "Publishing them would make every UPDATE and DELETE on them fail on the source.\n{}",
                    listed(tables)
                )),
                Some(
                    "Add primary keys, or use no_identity => 'insert_only' (updates and deletes on them are not replicated) \
                     or no_identity => 'full' (sets REPLICA IDENTITY FULL on the source)."
                        .to_owned(),
                ),
            ),
            Publication { reason, hint, .. } => ("55000", Some(reason.clone()), Some(hint.clone())),
            PublicationChanged { .. } => (
                "55000",
                Some("Changes that it did not publish meanwhile are lost for this node.".to_owned()),
                Some("Use steep_repl.cancel_init(node) and initialize the node again.".to_owned()),
            ),
            Rewritten { .. } => (
                "55000",
                Some("Rows written before the rewrite cannot be read under the snapshot any more.".to_owned()),
                Some("The table is copied again under a later snapshot, as often as steep_repl.max_retries says.".to_owned()),
            ),
            LeftOvers { .. } => (
                "55000",
                Some("The server does not know any more how their transactions ended.".to_owned()),
                Some("The table is emptied and copied again under a later snapshot.".to_owned()),
            ),
            TableBusy { .. } => (
                "55P03",
                Some("What a table is cannot be read while somebody holds it locked against all others, as a load does.".to_owned()),
                Some("Try again when that has ended.".to_owned()),
            ),
            NoSuchTable { .. } => ("42P01", None, Some("Give the name as it is on the node, with its schema.".to_owned())),
            WorkerStays { .. } => ("55006", None, Some("It is tried again.".to_owned())),
            RoleGone { way_out, .. } => (
                "42704",
                Some("All its work is done with the rights of that role.".to_owned()),
                Some(format!("A superuser or the owner of the node takes it over by {way_out}.")),
            ),
            TakenOver { .. } => ("55006", None, Some("It goes on as that role by itself.".to_owned())),
            TaskTaken => ("40001", None, None),
            SourceChanged { differences } => (
                "42P15",
                Some(listed(differences)),
                Some(
                    "Make the same change here or take it back on the source, then use steep_repl.resume_init(node). Rows from \
                     before the change may still come: a column that was dropped there stays here, without NOT NULL, until the \
                     node is SYNCHRONIZED. Or use steep_repl.cancel_init(node), make the tables match and initialize the node again."
                        .to_owned(),
                ),
            ),
            File { reason, is_full, .. } => (
                if *is_full { "53100" } else { "58030" },
                Some(reason.clone()),
                Some("Look at the server's data directory: its space, its owner, its permissions.".to_owned()),
            ),
            SchemaSync { problem, .. } => (
                &problem.sqlstate,
                problem.detail.clone(),
                Some(match &problem.hint {
                    Some(hint) => hint.clone(),
                    None => "steep_repl.schema_sync_plan(node, source) shows each step.".to_owned(),
                }),
            ),
            SchemaEncoding { .. } => (
                "22P05",
                Some("The source's definitions have letters outside ASCII.".to_owned()),
                Some("Use a database of encoding UTF8, or make the tables by hand and use schema_sync => 'strict'.".to_owned()),
            ),
            NotUtf8 { .. } => (
                "0A000",
                Some("A table, one of its columns, a default or a constraint has them.".to_owned()),
                Some("Use a database of encoding UTF8. Rows may hold any letters, whatever the encoding.".to_owned()),
            ),
            NotWanted { .. } => ("57014", None, None),
            NotWaiting { status, phase, .. } => (
                "55000",
                Some(format!("It is {status} in phase {phase}.")),
                Some("Only an operation with schema_sync => 'manual' waits, in phase schema, when the schemas differ.".to_owned()),
            ),
            WaitTimeout { progress, .. } => (
                "57014",
                Some(progress.clone()),
                Some("The operation goes on; see steep_repl.init_progress.".to_owned()),
            ),
            WaitInTransaction => (
                "25001",
                Some("The operation starts when the transaction commits.".to_owned()),
                Some("Commit first, then wait.".to_owned()),
            ),
            Prepare => ("0A000", None, Some("Commit the transaction without preparing it.".to_owned())),
            WaitBlind => ("25001", None, Some("Commit first, then wait.".to_owned())),
            SlotLost { .. } => (
                "55000",
                Some("The source removed WAL that the node still needs.".to_owned()),
                Some(
                    "Raise max_slot_wal_keep_size (and idle_replication_slot_timeout) on the source, then use \
                     steep_repl.cancel_init(node) and initialize the node again."
                        .to_owned(),
                ),
            ),
            SlotAhead { .. } => (
                "55000",
                Some(
                    "Another copy of this server, or whoever reads from it. What was confirmed is not sent again: this node would lack it."
                        .to_owned(),
                ),
                Some("Use steep_repl.cancel_init(node) and initialize the node again.".to_owned()),
            ),
            SnapshotLost { .. } => (
                "55000",
                Some("Its connection ended, or the source was restarted.".to_owned()),
                Some("Finished tables are kept; the others are copied under a later snapshot.".to_owned()),
            ),
            TooFew { node, setting, .. } => (
                "53400",
                Some("The subscription takes one, and each table that is being copied takes another.".to_owned()),
                Some(format!(
                    "Raise {setting} on node \"{node}\" and restart it, drop what is not needed any more, or use method => 'parallel'."
                )),
            ),
            InitTimeout { .. } => (
                "57014",
                None,
                Some(
                    "steep_repl.resume_init(node) gives it as much time again; for another limit use \
                     steep_repl.cancel_init(node) and initialize the node again."
                        .to_owned(),
                ),
            ),
            Cancelled { .. } => ("57014", None, Some("Start again with steep_repl.init_node(node, source).".to_owned())),
            Snapshot(error) => error.parts(),
            Internal(_) => ("XX000", None, Some("This is a bug in steep_repl; please report it.".to_owned())),
        };
        Problem { sqlstate: sqlstate.to_owned(), message: self.to_string(), detail, hint }
    }
}
