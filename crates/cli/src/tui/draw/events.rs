//! What happened, on all nodes.

use ratatui::style::Style;

use super::canvas::Canvas;
use super::table::{self, Column};
use super::trouble::cells;
use crate::tui::model::page::events_shown;
use crate::tui::model::Model;
use crate::words::instant;

const fn column(title: &'static str, least: usize, most: usize, priority: u8) -> Column {
    Column { title, least, most, right: false, priority }
}

const COLUMNS: [Column; 6] = [
    column("", 1, 1, 0),
    column("time", 8, 15, 0),
    column("node", 6, 16, 3),
    column("event", 16, 26, 0),
    column("table", 14, 30, 2),
    column("message", 12, 300, 1),
];

/// Draws the page.
pub fn draw(model: &Model, canvas: &mut Canvas<'_>) {
    let theme = canvas.theme;
    let events = events_shown(model);
    if events.is_empty() {
        let why =
            if model.page().filter.is_empty() { "nothing has happened yet" } else { "no event contains the filter" };
        canvas.text(1, 1, why, theme.quiet());
        return;
    }
    let page = model.page();
    let cursor = page.row(events.len());
    // The whole of what is cut in the row stands below.
    let columns = canvas.width().saturating_sub(2);
    let chosen = events.get(cursor).map(|(_, event)| *event);
    let message = chosen.and_then(|event| event.message.as_deref()).unwrap_or_default();
    let mut text = cells(message, Style::new(), columns);
    if let Some(hint) = chosen.and_then(|event| event.hint.as_deref()) {
        text.extend(cells(&format!("hint: {hint}"), Style::new(), columns));
    }
    let height = canvas.height();
    let below = if height < 8 { 0 } else { (text.len() + 1).min(height / 3) };
    table::draw(&mut canvas.rows(0, height - below), &COLUMNS, events.len(), Some(cursor), |n| {
        let Some((node, event)) = events.get(n) else { return Vec::new() };
        let style = theme.severity(&event.severity);
        let mark = match event.severity.as_str() {
            "error" => "X",
            "warning" => "!",
            _ => " ",
        };
        vec![
            (mark.to_owned(), style),
            (instant(event.at, model.now, &model.zone), theme.quiet()),
            (event.node.as_deref().unwrap_or(node).to_owned(), Style::new()),
            (event.event.clone(), style),
            (event.table_name.clone().unwrap_or_default(), Style::new()),
            (event.message.clone().unwrap_or_default(), style),
        ]
    });
    if below > 0 {
        let follow = if page.follow { "following" } else { "f follows the newest" };
        let mut part = canvas.rows(height - below, below);
        part.rule(0, &format!("{} of {}, {follow}", cursor + 1, events.len()));
        part.lines(1, &text);
    }
}
