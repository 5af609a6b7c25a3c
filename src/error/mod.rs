//! Everything that can go wrong, with what a person needs to mend it.
//!
//! One enum with structured fields, groups of them in files of their own; [`Error::problem`] gives each its SQLSTATE, detail and hint. An
//! error keeps the side it came from, because retry or stop is decided by side and SQLSTATE (`steep_repl_core::retry`), never
//! by the text of a message.

mod problem;
mod program;
mod slots;
mod snapshot;
mod subscription;
mod verdict;

pub use problem::listed;
pub use program::ProgramError;
pub use slots::SlotError;
pub use snapshot::SnapshotError;
pub use subscription::SubscriptionError;

use steep_repl_core::errors::Problem;

/// The result of everything in this extension that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. Messages begin in lower case and have no full stop, as PostgreSQL's do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// An error that the local server raised.
    #[error("{0}")]
    Server(Box<Problem>),
    /// About a slot that was made beforehand.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// About a program of the server's, or what comes by one.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// About the subscription.
    #[error(transparent)]
    Subscription(#[from] SubscriptionError),
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
    /// A connection to the source over which nothing comes.
    #[error("nothing came from node \"{node}\" for {seconds} s")]
    SourceSilent {
        /// Name of the node.
        node: String,
        /// How long, in seconds.
        seconds: f64,
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
    /// What was made of a node, and is kept on it, can be taken away only by its connection string.
    #[error("node \"{node}\" has snapshots or slots that are kept")]
    NodeKeeps {
        /// Name of the node.
        node: String,
        /// Identities of its snapshots.
        snapshots: Vec<String>,
        /// Slots that were made for somebody's own backup.
        slots: Vec<String>,
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
    /// The extension holds the only record of what a failed operation has made.
    #[error("cannot drop extension steep_repl while operation {operation} is neither resumed nor cancelled")]
    ExtensionNeeded {
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
        /// It is the operation of the server that this one is a copy of, and can be adopted when that one is gone.
        of_original: bool,
    },
    /// Somebody replicates with the slot of an operation that has not come to that.
    #[error("replication slot \"{slot}\" on node \"{node}\" was used by somebody else")]
    SlotAhead {
        /// The slot.
        slot: String,
        /// Name of the source.
        node: String,
    },
    /// Nothing can be written.
    #[error("this server is a standby")]
    Standby,
    /// Nothing to adopt.
    #[error("operation {operation} is this database's own")]
    OwnOperation {
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
    /// One piece of the clean-up cannot be done before another.
    #[error("waits for the clean-up of kind {kind}")]
    CleanupWaits {
        /// The other.
        kind: &'static str,
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
    /// No room on a node.
    #[error("node \"{node}\" has no free {what}: all {limit} are in use")]
    Exhausted {
        /// Name of the node.
        node: String,
        /// Replication slots, WAL senders, replication origins.
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
    /// A right that is missing on a table here.
    #[error("role \"{role}\" {lacks}")]
    RightsHere {
        /// The role.
        role: String,
        /// What it may not do.
        lacks: String,
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
    /// Schemas that none of the nodes has that are looked at.
    #[error("schema {} does not exist", names.join(", "))]
    NoSuchSchema {
        /// The schemas.
        names: Vec<String>,
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
    /// Keys here that are not valid.
    #[error("{count} of the keys of the tables to be copied are not valid on node \"{node}\"")]
    InvalidKeys {
        /// Name of the node.
        node: String,
        /// How many.
        count: usize,
        /// Their names.
        keys: Vec<String>,
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
    /// Somebody has changed the publications.
    #[error("publication {} on node \"{node}\" was changed or dropped during the operation", publications.join(", "))]
    PublicationChanged {
        /// Their names.
        publications: Vec<String>,
        /// The source.
        node: String,
    },
    /// The table is not what the snapshot knows any more.
    #[error("table {table} was rewritten or replaced on the source after the snapshot was taken")]
    Rewritten {
        /// The table.
        table: String,
    },
    /// What an interrupted load has left in a table cannot be told from its rows.
    #[error("rows of an interrupted load of table {table} cannot be told from others")]
    LeftOvers {
        /// The table.
        table: String,
    },
    /// Somebody has the table locked.
    #[error("table {table} is locked")]
    TableBusy {
        /// The table.
        table: String,
    },
    /// There is no such table.
    #[error("table {table} does not exist")]
    NoSuchTable {
        /// Its name, or its OID.
        table: String,
    },
    /// A process that was told to end and does not.
    #[error("worker process {pid} does not end")]
    WorkerStays {
        /// Its process id.
        pid: i32,
    },
    /// Nobody is left whose rights an operation could use.
    #[error("the role that started operation {operation} was dropped")]
    RoleGone {
        /// Its number.
        operation: i64,
        /// The calls by which another role takes it over.
        way_out: &'static str,
    },
    /// Somebody has taken the operation over.
    #[error("operation {operation} belongs to another role now")]
    TakenOver {
        /// Its number.
        operation: i64,
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
    /// A file of ours.
    #[error("could not use \"{path}\"")]
    File {
        /// Its path.
        path: String,
        /// What the system says.
        reason: String,
        /// Whether the disk is full.
        is_full: bool,
    },
    /// An object of the source could not be made here.
    #[error("could not {what}: {}", problem.message)]
    SchemaSync {
        /// What was being done.
        what: String,
        /// The server's own words.
        problem: Box<Problem>,
    },
    /// Names of the source that this database's encoding does not have.
    #[error("the schema of node \"{node}\" cannot be made in a database of encoding {encoding}")]
    SchemaEncoding {
        /// The source.
        node: String,
        /// Encoding of this database.
        encoding: String,
    },
    /// A name, a definition or a message in this database has letters that only UTF-8 would let us read.
    #[error("letters outside ASCII are not understood in a database of encoding {encoding}")]
    NotUtf8 {
        /// Encoding of this database.
        encoding: String,
    },
    /// Somebody has cancelled the operation meanwhile.
    #[error("operation {operation} is not wanted any more")]
    NotWanted {
        /// Its number.
        operation: i64,
    },
    /// Nothing waits for a confirmation.
    #[error("operation {operation} of node \"{node}\" does not wait for a confirmation")]
    NotWaiting {
        /// Its number.
        operation: i64,
        /// The node.
        node: String,
        /// Its status.
        status: String,
        /// Its phase.
        phase: String,
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
    /// A node has too little of something that table synchronization takes.
    #[error("node \"{node}\" has {free} free {what}s, and initial synchronization needs {needed}")]
    TooFew {
        /// Name of the node.
        node: String,
        /// Replication slot, WAL sender, replication origin.
        what: &'static str,
        /// How many are free.
        free: i64,
        /// How many it takes at least.
        needed: i64,
        /// The setting to raise.
        setting: &'static str,
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
    /// Something about a portable snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// What must not happen: a bug of ours.
    #[error("steep_repl: {0}")]
    Internal(String),
}

impl Error {
    /// The line that loads the extension at server start.
    pub const PRELOAD_LINE: &'static str = "shared_preload_libraries = 'steep_repl'";

    /// SQLSTATE of a private server that does not come up: config_file_error.
    pub const PRIVATE_SERVER: &'static str = "F0000";

    /// A bug of ours, said in words.
    pub fn internal(what: impl Into<String>) -> Self {
        Error::Internal(what.into())
    }

    /// A subscription with two_phase cannot take in further tables.
    pub fn two_phase(subscription: String) -> Error {
        Error::Subscription(SubscriptionError::CannotJoin {
            subscription,
            reason: "It has two_phase on, and prepared transactions cannot be passed over for some tables only."
                .to_owned(),
            hint: "Use ALTER SUBSCRIPTION ... SET (two_phase = false), where the server can.".to_owned(),
        })
    }
}
