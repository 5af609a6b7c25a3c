//! What comes in, and what goes out: [`Message`]s are all that `update` learns, [`Effect`]s all that it can cause.

use std::sync::Arc;

use jiff::Timestamp;
use ratatui::crossterm::event::KeyEvent;

use super::call::Call;
use super::snapshot::{Compared, Difference, Finding, NodeId, Snapshot, Statement};

/// Number of a call, so that an answer nobody waits for any more is known as such.
pub type Ticket = u64;

/// What has happened.
#[derive(Debug, Clone)]
pub enum Message {
    /// Time went on. The only clock there is.
    Tick(Timestamp),
    /// A key was pressed.
    Key(KeyEvent),
    /// A text was pasted.
    Paste(String),
    /// The terminal has that many columns and rows now.
    Resize(u16, u16),
    /// A reader has looked at a node.
    Seen(NodeId, Arc<Snapshot>),
    /// A call is over.
    Answered(Ticket, Box<Answer>, Statement),
    /// A signal asks to end.
    Terminate,
}

/// What came of a call.
#[derive(Debug, Clone)]
pub enum Answer {
    /// It was done.
    Done {
        /// The value that came back, if any.
        value: String,
        /// Warnings that came with it.
        warnings: Vec<String>,
    },
    /// Findings of `preflight`.
    Findings(Vec<Finding>),
    /// Names of tables.
    Tables(Vec<String>),
    /// Rows of `compare_schemas`.
    Compared(Vec<Compared>),
    /// Rows of `schema_diff`.
    Differences(Vec<Difference>),
    /// It failed.
    Failed(Trouble),
}

/// What a server or the network said against it. Never holds a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trouble {
    /// What happened.
    pub message: String,
    /// SQLSTATE, from a server.
    pub sqlstate: Option<String>,
    /// More about it.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

impl From<crate::failure::Failure> for Trouble {
    fn from(failure: crate::failure::Failure) -> Trouble {
        let crate::failure::Failure { message, sqlstate, detail, hint, .. } = failure;
        Trouble { message, sqlstate, detail, hint }
    }
}

/// What is to be done outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// End.
    Quit,
    /// Clear the terminal before the next drawing.
    Repaint,
    /// Start a reader for a node, in place of the one there is; the connection string is the redacted one of `node_status`.
    Watch(NodeId, String),
    /// A reader has not answered for long: replace it.
    Rewatch(NodeId),
    /// Its node is no longer registered.
    Unwatch(NodeId),
    /// Only this node's tables are looked at from now on.
    Focus(Option<NodeId>),
    /// Run it over a connection to this node.
    Run(Ticket, NodeId, Call),
    /// Its answer is of no interest any more: cancel the statement.
    Abandon(Ticket),
    /// Something was done to this node: look at it at once.
    LookNow(NodeId),
}
