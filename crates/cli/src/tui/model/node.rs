//! One row of the view of nodes: what is known of a node, and how it stands.

use std::collections::VecDeque;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use steep_repl_core::node_state::NodeState;

use crate::tui::snapshot::{Contact, NodeId, NodeStatus, Progress, Reading, Server, Snapshot};
use crate::words;

/// A look older than this many seconds means that the node does not answer.
pub const SILENT_AFTER: i64 = 8;
/// Samples of throughput that are kept.
const HISTORY: usize = 240;

/// A node.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its connection.
    pub id: NodeId,
    /// Its name, or where the first connection leads until a name is known.
    pub name: String,
    /// Where it is, once its reader has said so.
    pub conninfo: String,
    /// The newest look at it.
    pub snapshot: Option<Arc<Snapshot>>,
    /// What it last told about itself, kept when it can no longer be reached.
    pub last: Option<Arc<Reading>>,
    /// When it was found, or got its newest reader.
    pub since: Timestamp,
    /// When it was last heard of.
    pub heard_at: Timestamp,
    /// Throughput of the running operation, a sample a second.
    pub history: VecDeque<Sample>,
    /// Operation that the history is of.
    pub history_of: i64,
}

/// Throughput at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// Bytes a second.
    pub bytes: f64,
}

/// How a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It has the extension and says so itself.
    State(NodeState),
    /// A word of a newer version of the extension.
    Unknown,
    /// A database without the extension.
    Source,
    /// The extension is there, but no node was registered as this very database.
    Unregistered,
    /// Nothing was heard yet.
    Connecting,
    /// It does not answer.
    Unreachable,
}

impl Node {
    /// A node of which nothing is known yet.
    pub fn new(id: NodeId, name: &str, conninfo: &str, since: Timestamp) -> Node {
        let (name, conninfo) = (name.to_owned(), conninfo.to_owned());
        let history = VecDeque::new();
        Node { id, name, conninfo, snapshot: None, last: None, since, heard_at: since, history, history_of: 0 }
    }

    /// Takes a new look over.
    pub fn see(&mut self, snapshot: &Arc<Snapshot>) {
        if let Contact::Node(_, reading) = &snapshot.contact {
            self.last = Some(Arc::clone(reading));
            if let Some(progress) = &reading.progress {
                self.sample(progress, snapshot.taken_at);
            }
        } else if let Contact::Source(_) = &snapshot.contact {
            self.last = None;
        }
        self.heard_at = snapshot.taken_at;
        self.snapshot = Some(Arc::clone(snapshot));
    }

    fn sample(&mut self, progress: &Progress, at: Timestamp) {
        if self.history_of != progress.operation_id {
            self.history.clear();
            self.history_of = progress.operation_id;
        }
        let due = self.history.back().is_none_or(|last| (at.as_millisecond() - last.at.as_millisecond()).abs() >= 900);
        if due && self.is_busy() {
            if self.history.len() == HISTORY {
                self.history.pop_front();
            }
            self.history.push_back(Sample { at, bytes: progress.bytes_per_second.unwrap_or(0.0) });
        }
    }

    /// What it said at the newest look, if it answered.
    pub fn reading(&self) -> Option<&Arc<Reading>> {
        match self.snapshot.as_deref().map(|snapshot| &snapshot.contact) {
            Some(Contact::Node(_, reading)) => Some(reading),
            _ => None,
        }
    }

    /// What any server tells.
    pub fn server(&self) -> Option<&Server> {
        match self.snapshot.as_deref().map(|snapshot| &snapshot.contact) {
            Some(Contact::Node(server, _) | Contact::Source(server)) => Some(server),
            _ => None,
        }
    }

    /// Its own row of `node_status`, as of the last time it answered.
    pub fn status(&self) -> Option<&NodeStatus> {
        self.last.as_ref().and_then(|reading| reading.own())
    }

    /// Its operation, as of the last time it answered.
    pub fn progress(&self) -> Option<&Progress> {
        self.last.as_ref().and_then(|reading| reading.progress.as_ref())
    }

    /// Whether an operation is under way.
    pub fn is_busy(&self) -> bool {
        self.status().is_some_and(NodeStatus::is_busy)
    }

    /// Seconds since it last answered, when that is too long ago.
    pub fn silent_for(&self, now: Timestamp) -> Option<i64> {
        let seconds = words::seconds_between(self.heard_at, now);
        (seconds >= SILENT_AFTER).then_some(seconds)
    }

    /// How it stands.
    pub fn standing(&self, now: Timestamp) -> Standing {
        let Some(snapshot) = &self.snapshot else {
            return if self.silent_for(now).is_some() { Standing::Unreachable } else { Standing::Connecting };
        };
        match &snapshot.contact {
            // A reader that tries again says nothing meanwhile.
            Contact::Unreachable { .. } => Standing::Unreachable,
            _ if self.silent_for(now).is_some() => Standing::Unreachable,
            Contact::Source(_) => Standing::Source,
            Contact::Node(_, reading) => match reading.own() {
                None => Standing::Unregistered,
                Some(own) => NodeState::from_str(&own.state).map_or(Standing::Unknown, Standing::State),
            },
        }
    }

    /// Why it cannot be reached.
    pub fn unreachable_because(&self, now: Timestamp) -> Option<String> {
        if let Some(Contact::Unreachable { reason, .. }) = self.snapshot.as_deref().map(|snapshot| &snapshot.contact) {
            return Some(reason.clone());
        }
        self.silent_for(now).map(|seconds| format!("no answer for {}", words::duration(seconds)))
    }

    /// The line that says what is wrong, the worst first.
    pub fn complaint(&self, now: Timestamp) -> Option<String> {
        if let Some(reason) = self.unreachable_because(now) {
            return Some(reason);
        }
        let status = self.status()?;
        let stopped = self.last.as_ref().is_some_and(|reading| {
            reading.subscriptions.iter().any(|subscription| subscription.enabled && !subscription.running)
        });
        let missing = status.tables_not_subscribed.as_ref().map_or(0, Vec::len);
        status
            .last_error
            .clone()
            .or_else(|| self.progress().filter(|_| self.is_busy()).and_then(|progress| progress.error.clone()))
            .or_else(|| status.notice.clone())
            .or_else(|| stopped.then(|| "the apply worker of its subscription is not running".to_owned()))
            .or_else(|| match missing {
                0 => None,
                1 => Some("1 table of the source is not replicated".to_owned()),
                n => Some(format!("{n} tables of the source are not replicated")),
            })
    }
}
