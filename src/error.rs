//! Everything that can go wrong, with what a person needs to mend it.
//!
//! One enum with structured fields; [`Error::problem`] is the only place that gives a variant its SQLSTATE, detail and hint. An
//! error keeps the side it came from, because retry or stop is decided by side and SQLSTATE (`steep_repl_core::retry`), never
//! by the text of a message.

use steep_repl_core::errors::Problem;
use steep_repl_core::retry::{self, Verdict};

/// The result of everything in this extension that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. Messages begin in lower case and have no full stop, as PostgreSQL's do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// An error that the local server raised.
    #[error("{0}")]
    Server(Box<Problem>),
    /// An error that the source raised in answer to a statement.
    #[error("{context}: {}", problem.message)]
    Source {
        /// What was being done.
        context: String,
        /// The source's own words.
        problem: Box<Problem>,
    },
    /// No connection to the source.
    #[error("could not connect to node \"{node}\" ({target})")]
    SourceUnreachable {
        /// Name of the node.
        node: String,
        /// Host, port and database, without secrets.
        target: String,
        /// libpq's words.
        reason: String,
    },
    /// No node of that name.
    #[error("node \"{node}\" is not registered")]
    NodeUnknown {
        /// The name that was given.
        node: String,
        /// The nodes there are.
        known: Vec<String>,
    },
    /// A node of that name is there already.
    #[error("node \"{node}\" is registered already")]
    NodeExists {
        /// Name of the node.
        node: String,
    },
    /// The database is another node already.
    #[error("this database is registered as node \"{node}\" already")]
    LocalNodeExists {
        /// Name of the local node.
        node: String,
    },
    /// The node is not this database.
    #[error("node \"{node}\" is not this database")]
    NodeNotLocal {
        /// Name of the node.
        node: String,
        /// Host, port and database of the node, without secrets.
        target: String,
    },
    /// The node is its own source.
    #[error("node \"{node}\" cannot be initialized from itself")]
    SourceIsLocal {
        /// Name of the node.
        node: String,
    },
    /// Somebody else's node.
    #[error("permission denied for node \"{node}\"")]
    NodeNotYours {
        /// Name of the node.
        node: String,
        /// Its owner.
        owner: String,
    },
    /// A name that cannot be one.
    #[error("\"{name}\" is not a valid node name")]
    NodeName {
        /// What was given.
        name: String,
    },
    /// The node is in use by an operation.
    #[error("operation {operation} of node \"{node}\" is {status}")]
    OperationUnfinished {
        /// Number of the operation.
        operation: i64,
        /// Name of the node.
        node: String,
        /// Where it stands.
        status: String,
    },
    /// The node is in a state that does not allow this.
    #[error("node \"{node}\" is {state}")]
    WrongState {
        /// Name of the node.
        node: String,
        /// Its state.
        state: String,
        /// What to do.
        hint: String,
    },
    /// The extension cannot go while its workers are at work.
    #[error("cannot drop extension steep_repl while operation {operation} runs")]
    ExtensionInUse {
        /// The operation.
        operation: i64,
    },
    /// An argument that must be given.
    #[error("{argument} must not be null")]
    Null {
        /// Its name.
        argument: &'static str,
    },
    /// A copy of a database carries the rows of the original's operations.
    #[error("operation {operation} was started in another database or cluster")]
    ForeignOperation {
        /// Its number.
        operation: i64,
    },
    /// What a cancelled operation has left in this node's tables is not cleaned up yet.
    #[error("operation {operation} of node \"{node}\" is cancelled but not yet cleaned up")]
    CleanupPending {
        /// Its number.
        operation: i64,
        /// Name of the node.
        node: String,
    },
    /// There is nothing to wait for, to cancel or to resume.
    #[error("node \"{node}\" has no operation")]
    NoOperation {
        /// Name of the node.
        node: String,
    },
    /// The launcher is not there.
    #[error("steep_repl is not loaded by this server")]
    NotPreloaded,
    /// A table of fixed size is full.
    #[error("too many operations in this cluster at once (at most {most})")]
    TooManyOperations {
        /// Its size.
        most: usize,
    },
    /// A connection string that libpq would not take.
    #[error("invalid connection string for node \"{node}\"")]
    Conninfo {
        /// Name of the node.
        node: String,
        /// What is wrong, without any value of it.
        reason: String,
    },
    /// A connection string that makes the server read its own files on behalf of a non-superuser.
    #[error("connection string of node \"{node}\" uses {}", keywords.join(", "))]
    ConninfoFiles {
        /// Name of the node.
        node: String,
        /// The keywords.
        keywords: Vec<String>,
    },
    /// A connection string without the password that a non-superuser must give.
    #[error("a password is required in the connection string of node \"{node}\"")]
    PasswordRequired {
        /// Name of the node.
        node: String,
    },
    /// An argument that has no such value.
    #[error("invalid value for {argument}: \"{value}\"")]
    Argument {
        /// Name of the argument.
        argument: &'static str,
        /// What was given.
        value: String,
        /// What can be given.
        hint: String,
    },
    /// Something that this version does not do yet.
    #[error("{what} is not supported by this version of steep_repl")]
    NotYet {
        /// The thing.
        what: String,
        /// What to do instead.
        hint: String,
    },
    /// The source cannot do logical replication as it is set up.
    #[error("node \"{node}\" has {setting} = {value}")]
    SourceSetting {
        /// Name of the node.
        node: String,
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What is needed.
        hint: String,
    },
    /// No room on the source.
    #[error("node \"{node}\" has no free {what}: all {limit} are in use")]
    SourceExhausted {
        /// Name of the node.
        node: String,
        /// Replication slots or WAL senders.
        what: &'static str,
        /// How many there are.
        limit: i64,
        /// The setting to raise.
        setting: &'static str,
    },
    /// A right that is missing on the source or here.
    #[error("role \"{role}\" {lacks} on node \"{node}\"")]
    Rights {
        /// The role.
        role: String,
        /// What it may not do.
        lacks: String,
        /// Where.
        node: String,
        /// How to give it.
        hint: String,
    },
    /// The source is older than logical replication of this kind allows.
    #[error("node \"{node}\" runs PostgreSQL {version}")]
    SourceVersion {
        /// Name of the node.
        node: String,
        /// Its version.
        version: String,
    },
    /// Schemas or tables that were asked for and are not there.
    #[error("not found on node \"{node}\": {}", names.join(", "))]
    NotFound {
        /// Name of the node.
        node: String,
        /// What is missing.
        names: Vec<String>,
    },
    /// Names that mean several tables.
    #[error("ambiguous table names: {}", names.join(", "))]
    Ambiguous {
        /// The names.
        names: Vec<String>,
    },
    /// Rows in tables that should be empty.
    #[error("{count} of the tables to be copied are not empty on node \"{node}\"")]
    NotEmpty {
        /// Name of the node.
        node: String,
        /// How many.
        count: usize,
        /// Their names.
        tables: Vec<String>,
    },
    /// The tables do not match.
    #[error("schema of node \"{node}\" does not match node \"{source_node}\": {count} differences")]
    SchemaMismatch {
        /// The target.
        node: String,
        /// The source.
        source_node: String,
        /// How many differences.
        count: usize,
        /// Each of them, in words.
        differences: Vec<String>,
    },
    /// Tables that could not replicate updates.
    #[error("{count} of the tables to be copied have no replica identity on node \"{node}\"")]
    NoIdentity {
        /// The source.
        node: String,
        /// How many.
        count: usize,
        /// Their names.
        tables: Vec<String>,
    },
    /// A publication that does not hold the plan.
    #[error("publication \"{publication}\" on node \"{node}\" cannot be used")]
    Publication {
        /// The source.
        node: String,
        /// The publication.
        publication: String,
        /// Why not.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// The table is not what the snapshot knows any more.
    #[error("table {table} was rewritten or replaced on the source after the snapshot was taken")]
    Rewritten {
        /// The table.
        table: String,
    },
    /// A worker of an earlier coordinator that does not end.
    #[error("worker process {pid} of an earlier coordinator does not end")]
    WorkerStays {
        /// Its process id.
        pid: i32,
    },
    /// The task was given to another worker meanwhile.
    #[error("the task was taken over by another worker")]
    TaskTaken,
    /// The columns changed on the source after the plan was made.
    #[error("the schema of the source changed during the operation")]
    SourceChanged {
        /// Each difference, in words.
        differences: Vec<String>,
    },
    /// The wait ended before the work.
    #[error("node \"{node}\" is not synchronized after {waited}")]
    WaitTimeout {
        /// Name of the node.
        node: String,
        /// How long.
        waited: String,
        /// Where the operation stands.
        progress: String,
    },
    /// A wait that could never end.
    #[error("cannot wait for an operation in the transaction that started it")]
    WaitInTransaction,
    /// A prepared transaction would start the operation in another session, unseen.
    #[error("cannot prepare a transaction that has started an operation")]
    Prepare,
    /// A wait that would see nothing new.
    #[error("cannot wait in a transaction of isolation level REPEATABLE READ or higher that has written")]
    WaitBlind,
    /// The slot on the source cannot be used any more.
    #[error("replication slot \"{slot}\" on node \"{node}\" is lost")]
    SlotLost {
        /// The slot.
        slot: String,
        /// The source.
        node: String,
    },
    /// The snapshot on the source is gone.
    #[error("the exported snapshot on node \"{node}\" is gone")]
    SnapshotLost {
        /// The source.
        node: String,
    },
    /// The apply worker cannot go on.
    #[error("the apply worker of subscription \"{subscription}\" fails")]
    ApplyFails {
        /// The subscription.
        subscription: String,
        /// How often.
        errors: i64,
    },
    /// An operation took longer than it may.
    #[error("operation {operation} took longer than {limit}")]
    InitTimeout {
        /// Number of the operation.
        operation: i64,
        /// The limit.
        limit: String,
    },
    /// The function ended the operation.
    #[error("operation {operation} of node \"{node}\" was cancelled")]
    Cancelled {
        /// Number of the operation.
        operation: i64,
        /// Name of the node.
        node: String,
    },
    /// What must not happen: a bug of ours.
    #[error("steep_repl: {0}")]
    Internal(String),
}

/// A list for a DETAIL: at most 50 lines, then how many there are more.
fn listed(lines: &[String]) -> String {
    const MOST: usize = 50;
    let mut text = lines.iter().take(MOST).cloned().collect::<Vec<_>>().join("\n");
    if lines.len() > MOST {
        text.push_str(&format!("\n... and {} more", lines.len() - MOST));
    }
    text
}

impl Error {
    /// The line that loads the extension at server start.
    pub const PRELOAD_LINE: &'static str = "shared_preload_libraries = 'steep_repl'";

    /// A bug of ours, said in words.
    pub fn internal(what: impl Into<String>) -> Self {
        Error::Internal(what.into())
    }

    /// SQLSTATE, message, detail and hint.
    pub fn problem(&self) -> Problem {
        use Error::*;
        if let Server(problem) = self {
            return (**problem).clone();
        }
        let (sqlstate, detail, hint): (&str, Option<String>, Option<String>) = match self {
            Server(_) => unreachable!("returned above"),
            Source { problem, .. } => (&problem.sqlstate, problem.detail.clone(), problem.hint.clone()),
            SourceUnreachable { reason, node, .. } => (
                "08001",
                Some(reason.clone()),
                Some(format!(
                    "Check that the server is up and the connection string of node \"{node}\" right: host, port, database, \
                     user, password."
                )),
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
            WrongState { hint, .. } => ("55000", None, Some(hint.clone())),
            ExtensionInUse { .. } => (
                "55006",
                None,
                Some("Wait for it, or use steep_repl.cancel_init(node) first.".to_owned()),
            ),
            Null { .. } => ("22004", None, Some("Give it a value.".to_owned())),
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
            SourceExhausted { setting, .. } => (
                "53400",
                None,
                Some(format!("Raise {setting} on the source and restart it, or drop what is not needed any more.")),
            ),
            Rights { hint, .. } => ("42501", None, Some(hint.clone())),
            SourceVersion { .. } => ("0A000", None, Some("The source must run PostgreSQL 14 or later.".to_owned())),
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
            SchemaMismatch { differences, .. } => (
                "42P15",
                Some(listed(differences)),
                Some("Make the tables match, or copy only those that do with tables => or schemas =>.".to_owned()),
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
            Rewritten { .. } => (
                "55000",
                Some("Rows written before the rewrite cannot be read under the snapshot any more.".to_owned()),
                Some("The table is copied again under a later snapshot.".to_owned()),
            ),
            WorkerStays { .. } => ("55006", None, Some("It is tried again.".to_owned())),
            TaskTaken => ("40001", None, None),
            SourceChanged { differences } => (
                "42P15",
                Some(listed(differences)),
                Some("Make the tables match, then use steep_repl.resume_init(node).".to_owned()),
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
            SnapshotLost { .. } => (
                "55000",
                Some("Its connection ended, or the source was restarted.".to_owned()),
                Some("Finished tables are kept; steep_repl.resume_init(node) goes on with the others.".to_owned()),
            ),
            ApplyFails { errors, .. } => (
                "55000",
                Some(format!("pg_stat_subscription_stats counts {errors} apply errors.")),
                Some("The cause is in the log of this server, in lines of the logical replication apply worker.".to_owned()),
            ),
            InitTimeout { .. } => (
                "57014",
                None,
                Some("Raise steep_repl.init_timeout or the timeout argument, then use steep_repl.resume_init(node).".to_owned()),
            ),
            Cancelled { .. } => ("57014", None, Some("Start again with steep_repl.init_node(node, source).".to_owned())),
            Internal(_) => ("XX000", None, Some("This is a bug in steep_repl; please report it.".to_owned())),
        };
        Problem { sqlstate: sqlstate.to_owned(), message: self.to_string(), detail, hint }
    }

    /// This error as what it means when it ends a copy from `node`.
    ///
    /// libpqwalreceiver gives whatever the source says during a COPY as a protocol violation of a "WAL stream"; there is no
    /// such stream here, and the source's own words come after the colon.
    pub fn of_copy_stream(self, node: &str) -> Error {
        match self {
            Error::Server(mut problem) if problem.sqlstate == "08P01" => {
                if let Some((_, words)) = problem.message.split_once("WAL stream: ") {
                    problem.message = words.trim_start_matches("ERROR:  ").to_owned();
                }
                Error::Source { context: format!("node \"{node}\" ended the COPY"), problem }
            }
            other => other,
        }
    }

    /// This error as what it means when it answers the import of a snapshot on `node`.
    pub fn of_snapshot_import(self, node: &str) -> Error {
        match &self {
            Error::Source { problem, .. }
                if retry::verdict(retry::Origin::Source, &problem.sqlstate) == Verdict::SnapshotLost =>
            {
                Error::SnapshotLost { node: node.to_owned() }
            }
            _ => self,
        }
    }

    /// Whether to try again, and what.
    pub fn verdict(&self) -> Verdict {
        match self {
            Error::SourceUnreachable { .. } => Verdict::RetrySource,
            Error::SnapshotLost { .. } | Error::Rewritten { .. } => Verdict::SnapshotLost,
            // The codes of a lost snapshot mean that only where a snapshot is imported, which says SnapshotLost itself.
            // The codes of a broken protocol are what libpqwalreceiver gives to whatever the source says during a COPY or the
            // creation of a slot; a broken link is 08006.
            Error::Source { problem, .. } | Error::Server(problem) if problem.sqlstate == "08P01" => Verdict::RetryTask,
            Error::Source { problem, .. } => match retry::verdict(retry::Origin::Source, &problem.sqlstate) {
                Verdict::SnapshotLost => Verdict::Fail,
                verdict => verdict,
            },
            Error::TaskTaken | Error::WorkerStays { .. } => Verdict::RetryTask,
            Error::Server(problem) => retry::verdict(retry::Origin::Target, &problem.sqlstate),
            _ => Verdict::Fail,
        }
    }
}
