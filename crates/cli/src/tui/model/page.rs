//! Pages that one goes through and comes back from.

use std::sync::Arc;

use crate::tui::message::{Ticket, Trouble};
use crate::tui::snapshot::{Compared, Difference, Event, NodeId, Statement};

use super::Model;

/// What a page shows.
#[derive(Debug, Clone, PartialEq)]
pub enum View {
    /// All nodes.
    Nodes,
    /// The newest operation of a node.
    Operation(NodeId),
    /// What happened on all nodes.
    Events,
    /// Two nodes, table by table.
    Schema(Comparison),
    /// One table of two nodes.
    Diff(TableDiff),
    /// Snapshots that a server keeps.
    Snapshots,
    /// Statements that were run.
    Statements,
    /// Keys and commands.
    Help,
    /// The whole of what was chosen.
    Details(Box<About>),
}

/// What the details are about.
#[derive(Debug, Clone, PartialEq)]
pub enum About {
    /// A node, and its operation.
    Node(NodeId),
    /// An event, and the node whose database it is of.
    Event(String, Event),
    /// A statement, and the node it was run on.
    Statement(String, Statement),
    /// A table of two nodes.
    Compared {
        /// The reference.
        a: String,
        /// The node to be brought in line.
        b: String,
        /// How the table stands.
        row: Compared,
    },
    /// What differs in a table.
    Difference {
        /// The reference.
        a: String,
        /// The node to be brought in line.
        b: String,
        /// What differs.
        row: Difference,
    },
    /// Why a comparison failed.
    Trouble(Trouble),
}

/// A page: a view, and where one is in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// What it shows.
    pub view: View,
    /// Row that is chosen, counted among those that pass the filter.
    pub cursor: usize,
    /// Rows that do not contain it are not shown.
    pub filter: String,
    /// The cursor stays on the last row.
    pub follow: bool,
}

/// The page that is there before any other.
pub static NODES: Page = Page { view: View::Nodes, cursor: 0, filter: String::new(), follow: false };

/// Something asked for that may take long.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked<T> {
    /// Not asked yet.
    No,
    /// Under way.
    Waiting(Ticket),
    /// Given up by the user.
    GivenUp,
    /// It has come.
    Here(T),
    /// It failed.
    Failed(Trouble),
}

/// Comparison of two nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Connection that is asked.
    pub asks: NodeId,
    /// The reference.
    pub a: String,
    /// The node to be brought in line.
    pub b: String,
    /// Its rows.
    pub rows: Asked<Arc<Vec<Compared>>>,
}

/// What differs in a table.
#[derive(Debug, Clone, PartialEq)]
pub struct TableDiff {
    /// Connection that is asked.
    pub asks: NodeId,
    /// The reference.
    pub a: String,
    /// The node to be brought in line.
    pub b: String,
    /// The table, as in SQL.
    pub table: String,
    /// Its rows.
    pub rows: Asked<Arc<Vec<Difference>>>,
}

impl Page {
    /// At its first row, or its last one where what is new comes last.
    pub fn new(view: View) -> Page {
        let follow = matches!(view, View::Events | View::Statements);
        Page { view, cursor: 0, filter: String::new(), follow }
    }

    /// Its name in the header.
    pub fn title(&self, model: &Model) -> String {
        match &self.view {
            View::Nodes => "nodes".to_owned(),
            View::Operation(id) => model.node(*id).map_or_else(|| "operation".to_owned(), |node| node.name.clone()),
            View::Events => "events".to_owned(),
            View::Schema(_) => "schema".to_owned(),
            View::Diff(diff) => diff.table.clone(),
            View::Snapshots => "snapshots".to_owned(),
            View::Statements => "sql".to_owned(),
            View::Help => "help".to_owned(),
            View::Details(_) => "details".to_owned(),
        }
    }

    /// The row that is chosen among so many: the last one while it follows.
    pub fn row(&self, rows: usize) -> usize {
        let last = rows.saturating_sub(1);
        if self.follow {
            last
        } else {
            self.cursor.min(last)
        }
    }

    /// What of these is chosen.
    fn chosen<'a, T>(&self, rows: &'a [T]) -> Option<&'a T> {
        rows.get(self.row(rows.len()))
    }
}

/// What is chosen on the page that is shown, as far as there is more to say about it.
pub fn about(model: &Model) -> Option<About> {
    let page = model.page();
    match &page.view {
        View::Nodes => model.chosen().map(|node| About::Node(node.id)),
        View::Operation(id) => Some(About::Node(*id)),
        View::Events => {
            page.chosen(&events_shown(model)).map(|&(node, event)| About::Event(node.to_owned(), event.clone()))
        }
        View::Statements => page
            .chosen(&model.statements_shown())
            .map(|&(node, statement)| About::Statement(node.to_owned(), statement.clone())),
        View::Schema(Comparison { rows: Asked::Failed(trouble), .. })
        | View::Diff(TableDiff { rows: Asked::Failed(trouble), .. }) => Some(About::Trouble(trouble.clone())),
        View::Schema(Comparison { a, b, rows: Asked::Here(rows), .. }) => page
            .chosen(&compared_shown(rows, &page.filter))
            .map(|&row| About::Compared { a: a.clone(), b: b.clone(), row: row.clone() }),
        View::Diff(TableDiff { a, b, rows: Asked::Here(rows), .. }) => page
            .chosen(&differences_shown(rows, &page.filter))
            .map(|&row| About::Difference { a: a.clone(), b: b.clone(), row: row.clone() }),
        _ => None,
    }
}

/// Whether one of the texts contains the filter, whatever the case.
pub fn passes(filter: &str, texts: &[&str]) -> bool {
    if filter.is_empty() {
        return true;
    }
    let filter = filter.to_lowercase();
    texts.iter().any(|text| text.to_lowercase().contains(&filter))
}

/// Rows of a comparison that pass the filter: what differs first, since that is what one looks for.
pub fn compared_shown<'a>(rows: &'a [Compared], filter: &str) -> Vec<&'a Compared> {
    let rank = |row: &Compared| match row.status.as_str() {
        "MISMATCH" => 0,
        "LOCAL_ONLY" | "REMOTE_ONLY" => 1,
        "BUSY" => 2,
        _ => 3,
    };
    let mut shown: Vec<&Compared> = rows
        .iter()
        .filter(|row| passes(filter, &[&row.name, &row.status, row.difference.as_deref().unwrap_or_default()]))
        .collect();
    shown.sort_by_key(|row| rank(row));
    shown
}

/// What differs in a table, as far as it passes the filter.
pub fn differences_shown<'a>(rows: &'a [Difference], filter: &str) -> Vec<&'a Difference> {
    rows.iter().filter(|row| passes(filter, &[&row.object_kind, &row.object_name, &row.change])).collect()
}

/// Events of all nodes that pass the filter, oldest first; two databases number theirs independently, so time decides.
pub fn events_shown(model: &Model) -> Vec<(&str, &Event)> {
    /// More than anybody scrolls through.
    const MOST: usize = 3_000;
    let filter = &model.page().filter;
    let mut all: Vec<(&str, &Event)> = Vec::new();
    for node in &model.nodes {
        let events = node.last.iter().flat_map(|reading| reading.events.iter());
        all.extend(events.map(|event| (node.name.as_str(), event.as_ref())));
    }
    all.retain(|(node, event)| {
        let texts = [
            node,
            event.event.as_str(),
            event.severity.as_str(),
            event.table_name.as_deref().unwrap_or_default(),
            event.message.as_deref().unwrap_or_default(),
        ];
        passes(filter, &texts)
    });
    let order = |&(_, event): &(&str, &Event)| (event.at, event.id);
    // With many nodes there are many more than are kept, so the oldest go before the rest is put in order.
    let too_many = all.len().saturating_sub(MOST);
    if too_many > 0 {
        all.select_nth_unstable_by_key(too_many, order);
        all.drain(..too_many);
    }
    all.sort_by_key(order);
    all
}
