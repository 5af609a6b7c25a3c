//! Snapshots that servers keep.

use ratatui::style::Style;

use super::canvas::Canvas;
use super::table::{self, Cell, Column};
use crate::tui::model::node::Node;
use crate::tui::model::Model;
use crate::tui::snapshot::Kept;
use crate::words::{bytes, instant};

const fn column(title: &'static str, least: usize, most: usize, right: bool, priority: u8) -> Column {
    Column { title, least, most, right, priority }
}

const COLUMNS: [Column; 10] = [
    column("kept on", 6, 16, false, 2),
    column("id", 16, 16, false, 0),
    column("of", 6, 16, false, 0),
    column("status", 10, 12, false, 0),
    column("done", 6, 7, true, 1),
    column("size", 7, 9, true, 3),
    column("slots free", 10, 10, true, 4),
    column("WAL held", 8, 9, true, 2),
    column("expires", 8, 15, false, 6),
    column("path", 12, 200, false, 5),
];

/// Rows above the list.
pub const ABOVE: usize = 1;

/// All of them, with the node that tells of each.
fn kept(model: &Model) -> Vec<(&Node, &Kept)> {
    model
        .nodes
        .iter()
        .filter_map(|node| Some((node, node.reading()?)))
        .flat_map(|(node, reading)| reading.kept.iter().map(move |kept| (node, kept)))
        .collect()
}

/// How many lines there are below the title.
pub fn lines(model: &Model) -> usize {
    kept(model).len()
}

/// Draws the page.
pub fn draw(model: &Model, canvas: &mut Canvas<'_>) {
    let theme = canvas.theme;
    let all = kept(model);
    if all.is_empty() {
        canvas.text(1, 0, "snapshots", theme.title());
        let mut answering = model.nodes.iter().filter_map(Node::reading).peekable();
        let why = if answering.peek().is_none() {
            "no node with the extension answers"
        } else if answering.any(|reading| reading.offers("snapshots")) {
            "no node keeps a snapshot; steep-repl snapshot generate writes one"
        } else {
            "the extension of these servers does not offer snapshots"
        };
        canvas.text(1, ABOVE + 1, why, theme.quiet());
        return;
    }
    let cursor = model.page().row(all.len());
    let chosen = all.get(cursor).and_then(|(_, kept)| kept.error.as_deref());
    let below = if chosen.is_some() && canvas.height() > 6 { 2 } else { 0 };
    let height = canvas.height();
    table::draw(&mut canvas.rows(0, height - below), &COLUMNS, all.len(), Some(cursor), |n| {
        all.get(n).map_or_else(Vec::new, |(node, kept)| cells(model, node, kept, &theme))
    });
    if let (Some(error), true) = (chosen, below > 0) {
        canvas.text(1, height - 1, error, theme.severity("error"));
    }
}

fn cells(model: &Model, node: &Node, kept: &Kept, theme: &super::theme::Theme) -> Vec<Cell> {
    let status = match kept.status.as_str() {
        "failed" => theme.severity("error"),
        "dropping" => theme.severity("warning"),
        _ => Style::new(),
    };
    let size = |n: Option<i64>| n.map_or(String::new(), |n| bytes(n as f64));
    let free = kept.slots_free.map_or(String::new(), |free| format!("{free} of {}", kept.slots));
    let expires = kept.expires_at.map_or(String::new(), |at| instant(at, model.now, &model.zone));
    let plain = |text: &str| (text.to_owned(), Style::new());
    vec![
        plain(&node.name),
        plain(&kept.id),
        plain(&kept.source),
        (kept.status.clone(), status),
        plain(&format!("{:.1} %", kept.percent)),
        plain(&size(kept.bytes)),
        plain(&free),
        plain(&size(kept.wal_held_bytes)),
        (expires, theme.quiet()),
        plain(&kept.path),
    ]
}
