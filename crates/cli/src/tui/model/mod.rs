//! All that is shown, and nothing else: `update` changes it, `draw` reads it.

pub mod dialog;
pub mod line;
pub mod node;
pub mod page;

use std::collections::{BTreeMap, VecDeque};

use jiff::tz::TimeZone;
use jiff::Timestamp;

use super::message::Ticket;
use super::snapshot::{NodeId, Statement, FIRST};
use dialog::Dialog;
use line::Line;
use node::Node;
use page::{Page, View};

/// Statements that are kept for those who want to see them.
const STATEMENTS: usize = 300;
/// Seconds that a line about what happened stays.
const NOTICE_STAYS: i64 = 8;

/// What the terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Characters beyond ASCII.
    pub unicode: bool,
    /// Colours.
    pub colour: bool,
}

/// How grave it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gravity {
    /// Good to know.
    Info,
    /// It was not done.
    Warning,
    /// It went wrong.
    Error,
}

/// A line about what happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// What.
    pub text: String,
    /// How grave.
    pub gravity: Gravity,
    /// When.
    pub at: Timestamp,
}

/// A call that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Underway {
    /// When it began.
    pub since: Timestamp,
    /// Connection over which it was made.
    pub node: NodeId,
    /// The statement.
    pub sql: String,
}

/// A line that is being typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// `:` or `/`.
    pub is_filter: bool,
    /// What was typed.
    pub line: Line,
    /// The filter to go back to, and the row the cursor was on.
    pub before: (String, usize),
}

/// Everything.
#[derive(Debug, Clone)]
pub struct Model {
    /// What the terminal can show.
    pub look: Look,
    /// Nothing can be changed.
    pub read_only: bool,
    /// Where the first connection leads.
    pub place: String,
    /// The time, as of the last tick.
    pub now: Timestamp,
    /// Zone of the times shown.
    pub zone: TimeZone,
    /// Columns and rows of the terminal.
    pub size: (u16, u16),
    /// Ordered by name.
    pub nodes: Vec<Node>,
    /// Number of the next connection.
    pub next_id: u32,
    /// Number of the next call.
    pub next_ticket: Ticket,
    /// Calls that are under way.
    pub calls: BTreeMap<Ticket, Underway>,
    /// The pages gone through; the last one is shown. Never empty.
    pub pages: Vec<Page>,
    /// What stands before the page.
    pub dialog: Option<Dialog>,
    /// The line that is being typed.
    pub prompt: Option<Prompt>,
    /// What happened last.
    pub notice: Option<Notice>,
    /// Calls that were made, oldest first.
    pub statements: VecDeque<(NodeId, Statement)>,
    /// The newest of each statement that is repeated.
    pub readings: BTreeMap<(NodeId, usize), Statement>,
}

impl Model {
    /// Before anything was heard.
    pub fn new(look: Look, read_only: bool, place: &str, now: Timestamp, zone: TimeZone) -> Model {
        Model {
            look,
            read_only,
            place: place.to_owned(),
            now,
            zone,
            size: (80, 24),
            nodes: vec![Node::new(FIRST, place, "", now)],
            next_id: 1,
            next_ticket: 1,
            calls: BTreeMap::new(),
            pages: vec![Page::new(View::Nodes)],
            dialog: None,
            prompt: None,
            notice: None,
            statements: VecDeque::new(),
            readings: BTreeMap::new(),
        }
    }

    /// The page that is shown.
    pub fn page(&self) -> &Page {
        // There is always one: the last is never taken away.
        self.pages.last().unwrap_or(&page::NODES)
    }

    /// The page that is shown, to be changed.
    pub fn page_mut(&mut self) -> &mut Page {
        if self.pages.is_empty() {
            self.pages.push(Page::new(View::Nodes));
        }
        let last = self.pages.len() - 1;
        &mut self.pages[last]
    }

    /// A node by its connection.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// A node by its name.
    pub fn node_named(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// Nodes that the filter of the first page lets through.
    pub fn nodes_shown(&self) -> Vec<&Node> {
        let filter = self.pages.first().map_or("", |page| page.filter.as_str());
        if filter.is_empty() {
            return self.nodes.iter().collect();
        }
        let shows = |node: &&Node| {
            let status = node.status();
            page::passes(
                filter,
                &[
                    &node.name,
                    status.map_or("", |status| status.state.as_str()),
                    status.and_then(|status| status.source.as_deref()).unwrap_or_default(),
                    &self.state_word(node),
                ],
            )
        };
        self.nodes.iter().filter(shows).collect()
    }

    /// The word in the column of states.
    pub fn state_word(&self, node: &Node) -> String {
        use node::Standing;
        match node.standing(self.now) {
            Standing::State(state) => state.as_str().to_owned(),
            Standing::Unknown => node.status().map(|status| status.state.clone()).unwrap_or_default(),
            Standing::Source => "source".to_owned(),
            Standing::Unregistered => "no node here".to_owned(),
            Standing::Connecting => "connecting".to_owned(),
            Standing::Unreachable => "unreachable".to_owned(),
        }
    }

    /// The node whose operation one looks at, or came through to the page that is shown.
    pub fn looked_at(&self) -> Option<NodeId> {
        self.pages.iter().rev().find_map(|page| match page.view {
            View::Operation(id) => Some(id),
            _ => None,
        })
    }

    /// The node whose operation one looks at, else the one under the cursor of the first page.
    pub fn chosen(&self) -> Option<&Node> {
        if let Some(id) = self.looked_at() {
            return self.node(id);
        }
        let shown = self.nodes_shown();
        let cursor = self.pages.first().map_or(0, |page| page.cursor);
        shown.get(cursor.min(shown.len().saturating_sub(1))).copied()
    }

    /// Bytes that a node is behind its source: as the slot on the source has it, else as the node says while it catches up.
    pub fn lag(&self, node: &Node) -> Option<i64> {
        let status = node.status()?;
        let source = status.source.as_ref().and_then(|name| self.node_named(name)).and_then(Node::server);
        let by_slot = source.and_then(|source| {
            let slots = node.last.iter().flat_map(|reading| &reading.subscriptions);
            slots.filter_map(|subscription| source.slots.get(subscription.slot.as_ref()?)?.lag_bytes).max()
        });
        let catching_up = node.is_busy().then(|| node.progress().and_then(|progress| progress.lag_bytes)).flatten();
        by_slot.or(catching_up)
    }

    /// Says what happened.
    pub fn say(&mut self, gravity: Gravity, text: impl Into<String>) {
        self.notice = Some(Notice { text: text.into(), gravity, at: self.now });
    }

    /// What was heard before the clock of this machine was set back counts from now on; else it would seem to be of the future, and all
    /// nodes to be silent once they are heard again.
    pub fn clock_was_set_back(&mut self, now: Timestamp) {
        for node in &mut self.nodes {
            node.heard_at = node.heard_at.min(now);
            node.since = node.since.min(now);
        }
        if let Some(notice) = &mut self.notice {
            notice.at = notice.at.min(now);
        }
    }

    /// Takes a notice away that has been there for long enough.
    pub fn forget_notice(&mut self) {
        let now = self.now;
        self.notice.take_if(|notice| crate::words::seconds_between(notice.at, now) >= NOTICE_STAYS);
    }

    /// Keeps a statement to be shown.
    pub fn keep(&mut self, node: NodeId, statement: Statement) {
        if self.statements.len() == STATEMENTS {
            self.statements.pop_front();
        }
        self.statements.push_back((node, statement));
    }

    /// Statements and the nodes they were run on: those that are repeated, each where it always stands, then the calls, the newest last.
    pub fn statements_shown(&self) -> Vec<(&str, &Statement)> {
        let filter = self.page().filter.as_str();
        let name = |id: NodeId| self.node(id).map_or("", |node| node.name.as_str());
        let mut all: Vec<(&str, &Statement)> =
            self.readings.iter().map(|((id, _), statement)| (name(*id), statement)).collect();
        all.sort_by_key(|(node, _)| *node);
        all.extend(self.statements.iter().map(|(id, statement)| (name(*id), statement)));
        all.retain(|(node, statement)| page::passes(filter, &[node, &statement.sql, &statement.outcome]));
        all
    }
}
