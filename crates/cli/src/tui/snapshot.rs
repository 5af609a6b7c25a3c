//! What the reader threads have seen: plain data that never changes once it is published.
//!
//! Rows come as JSON, one object a query, so a view that gains a column later breaks nothing here.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;

pub use crate::rows::{Check as Finding, Difference};

/// Number of a connection. 0 is the one the user asked for; the others are given out as nodes are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// The connection the user asked for.
pub const FIRST: NodeId = NodeId(0);

/// What one look at one node has found.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// When the look was over, by this machine's clock.
    pub taken_at: Timestamp,
    /// `host:port/dbname`.
    pub place: String,
    /// What answered.
    pub contact: Contact,
    /// Statements of this look.
    pub readings: Vec<Statement>,
}

/// What answered.
#[derive(Debug, Clone)]
pub enum Contact {
    /// Nothing.
    Unreachable {
        /// Why, in the server's words or the network's.
        reason: String,
        /// Since when.
        since: Timestamp,
        /// When it is tried again.
        next_try: Timestamp,
    },
    /// A database without the extension.
    Source(Server),
    /// A database with the extension.
    Node(Server, Arc<Reading>),
}

/// What any server tells.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Server {
    /// Major version.
    pub version: u32,
    /// Whether the extension is here.
    pub extension: Option<String>,
    /// Bytes of WAL that each logical slot has still to be sent.
    pub slots: BTreeMap<String, Slot>,
}

/// A logical replication slot.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Slot {
    /// Whether somebody reads from it.
    pub active: bool,
    /// How far its reader is behind, in bytes.
    pub lag_bytes: Option<i64>,
}

/// What a database with the extension tells.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// All registered nodes, as this one knows them.
    pub nodes: Vec<NodeStatus>,
    /// Newest operation on this database's own node.
    pub progress: Option<Progress>,
    /// Its phases, in the order in which they began.
    pub phases: Vec<PhaseStart>,
    /// Subscriptions of this database that are the extension's.
    pub subscriptions: Vec<Subscription>,
    /// Names of the extension's functions and views that are not in every version.
    pub offers: Vec<String>,
    /// Portable snapshots that it keeps, newest first.
    pub kept: Vec<Kept>,
    /// Tables of the operation, when somebody looks at them.
    pub tables: Option<Arc<Tables>>,
    /// Newest events, oldest first.
    pub events: Arc<[Arc<Event>]>,
}

impl Reading {
    /// The row of this very database.
    pub fn own(&self) -> Option<&NodeStatus> {
        self.nodes.iter().find(|node| node.is_local)
    }

    /// Whether the server has a function or view of the extension.
    pub fn offers(&self, name: &str) -> bool {
        self.offers.iter().any(|offered| offered == name)
    }
}

/// A row of `steep_repl.snapshots`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// Its identity.
    pub id: String,
    /// Node that it was taken of.
    pub source: String,
    /// Its folder on the server.
    pub path: String,
    /// generating, failed, complete or dropping.
    pub status: String,
    /// Share of the work done.
    pub percent: f64,
    /// Replication slots that were made.
    pub slots: i64,
    /// Those of them that no target has taken.
    pub slots_free: Option<i64>,
    /// WAL that they hold back, in bytes.
    pub wal_held_bytes: Option<i64>,
    /// Size of its files.
    pub bytes: Option<i64>,
    /// How they are compressed.
    pub compression: String,
    /// When it is dropped by itself.
    pub expires_at: Option<Timestamp>,
    /// What stopped it.
    pub error: Option<String>,
}

/// A row of `steep_repl.node_status`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// Its name.
    pub node: String,
    /// Whether it is the database that was asked.
    pub is_local: bool,
    /// One of the eight words.
    pub state: String,
    /// Node its data comes from.
    pub source: Option<String>,
    /// ok, warning or error.
    pub health: String,
    /// Newest operation.
    pub operation_id: Option<i64>,
    /// pending, running, cancelling, failed, cancelled or completed.
    pub operation_status: Option<String>,
    /// Step the operation is in.
    pub phase: Option<String>,
    /// What to know while it lasts.
    pub notice: Option<String>,
    /// SQLSTATE of the last error.
    pub sqlstate: Option<String>,
    /// The last error.
    pub last_error: Option<String>,
    /// Its detail.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Tables that are not replicated.
    pub tables_not_subscribed: Option<Vec<String>>,
    /// Connection string without secrets.
    pub conninfo: Option<String>,
    /// Role that registered it.
    pub owner: Option<String>,
    /// When the state last changed.
    pub updated_at: Option<Timestamp>,
}

impl NodeStatus {
    /// Whether an operation is under way.
    pub fn is_busy(&self) -> bool {
        matches!(self.operation_status.as_deref(), Some("pending" | "running" | "cancelling"))
    }
}

/// A row of `steep_repl.init_progress`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Number of the operation.
    pub operation_id: i64,
    /// Node that is worked on.
    pub node: String,
    /// Where the data comes from.
    pub source: String,
    /// init or refresh, and whatever comes later.
    pub kind: String,
    /// How it is done.
    pub method: String,
    /// State of the node.
    pub state: String,
    /// Step.
    pub phase: String,
    /// 0 to 100.
    pub overall_percent: f64,
    /// Tables of the plan.
    pub tables_total: i64,
    /// Tables that are ready.
    pub tables_done: i64,
    /// Rows copied.
    pub rows_done: i64,
    /// Bytes copied.
    pub bytes_done: i64,
    /// Bytes to copy.
    pub bytes_total: i64,
    /// Lately.
    pub rows_per_second: Option<f64>,
    /// Lately.
    pub bytes_per_second: Option<f64>,
    /// Copy workers that run.
    pub workers_active: i64,
    /// Copy workers asked for.
    pub workers_planned: i64,
    /// When work began.
    pub started_at: Option<Timestamp>,
    /// When the figures were taken.
    pub updated_at: Option<Timestamp>,
    /// Expected end.
    pub eta: Option<Timestamp>,
    /// While catching up.
    pub lag_bytes: Option<i64>,
    /// What stopped it.
    pub error: Option<String>,
    /// Of files that it writes itself.
    pub generation_percent: Option<f64>,
    /// Of what is done once the files are there.
    pub application_percent: Option<f64>,
}

/// When a phase began.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PhaseStart {
    /// Its name.
    pub phase: String,
    /// When it began.
    pub at: Timestamp,
}

/// A subscription of the extension.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Subscription {
    /// Slot on the source.
    pub slot: Option<String>,
    /// Whether it is enabled.
    pub enabled: bool,
    /// Whether its apply worker runs.
    pub running: bool,
}

/// Tables of an operation: all of them counted, some of them in full.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Tables {
    /// Operation they belong to.
    pub operation_id: i64,
    /// How many of each status.
    pub counts: BTreeMap<String, i64>,
    /// Those that are worked on.
    pub active: Vec<TableRow>,
    /// The first of those that wait or have failed, failed ones first.
    pub waiting: Vec<TableRow>,
    /// Those that were finished last, newest first.
    pub finished: Vec<TableRow>,
}

/// A row of `steep_repl.table_progress`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TableRow {
    /// Schema and name, quoted as in SQL.
    pub name: String,
    /// waiting, copying, deferred, indexing, vacuuming, done or failed.
    pub status: String,
    /// 0 to 100.
    pub percent: f64,
    /// Rows copied.
    pub rows_done: i64,
    /// Bytes copied.
    pub bytes_done: i64,
    /// Size on the source.
    pub bytes_total: i64,
    /// Failed attempts.
    pub attempts: i64,
    /// Time copying, in milliseconds.
    pub copy_ms: Option<f64>,
    /// Time indexing, in milliseconds.
    pub index_ms: Option<f64>,
    /// Its last error.
    pub error: Option<String>,
}

/// A row of `steep_repl.events`. That it is `Eq` makes two lists of shared events cheap to compare, which is done with every look.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Event {
    /// Its number.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Such as `init.started`.
    pub event: String,
    /// info, warning or error.
    pub severity: String,
    /// Operation it belongs to.
    pub operation_id: Option<i64>,
    /// Node it concerns.
    pub node: Option<String>,
    /// Table it concerns.
    pub table_name: Option<String>,
    /// What is said about it.
    pub message: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// A statement that was run, for those who want to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// When it began.
    pub at: Timestamp,
    /// Its text, with the values in place.
    pub sql: String,
    /// How long it took, in microseconds; none while it runs.
    pub micros: Option<u64>,
    /// What came: rows, or an error.
    pub outcome: String,
}

/// A row of `steep_repl.compare_schemas`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Compared {
    /// Schema and name, quoted as in SQL.
    pub name: String,
    /// MATCH, MISMATCH, LOCAL_ONLY, REMOTE_ONLY or BUSY.
    pub status: String,
    /// In words.
    pub difference: Option<String>,
}
