//! The whole of what was chosen, which a row or the lines below a list may cut.

use ratatui::style::Style;

use super::canvas::Canvas;
use super::table::Cell;
use super::theme::Theme;
use super::trouble::{self, cells};
use super::{nodes, schema, text};
use crate::tui::model::node::Node;
use crate::tui::model::page::About;
use crate::tui::model::Model;
use crate::tui::snapshot::{Compared, Difference, Event, Statement};
use crate::words::{instant, short_time};

/// Draws the page; the cursor says how far it is scrolled.
pub fn draw(model: &Model, about: &About, canvas: &mut Canvas<'_>) {
    let lines = lines(model, about, canvas.theme, canvas.width());
    text::draw(canvas, lines.len(), model.page().cursor, |canvas, n, y| {
        if let Some((text, style)) = lines.get(n) {
            canvas.text(1, y, text, *style);
        }
    });
}

/// Its lines on a page of so many columns.
pub fn lines(model: &Model, about: &About, theme: Theme, columns: usize) -> Vec<Cell> {
    let columns = columns.saturating_sub(2);
    match about {
        About::Node(id) => match model.node(*id) {
            Some(node) => of_node(model, node, theme, columns),
            None => cells("this node is no longer registered", theme.warning(), columns),
        },
        About::Event(node, event) => of_event(model, node, event, theme, columns),
        About::Statement(node, statement) => of_statement(model, node, statement, theme, columns),
        About::Compared { a, b, row } => of_compared(a, b, row, theme, columns),
        About::Difference { a, b, row } => of_difference(a, b, row, theme, columns),
        About::Trouble(trouble) => trouble::lines(trouble, theme, columns),
    }
}

fn of_node(model: &Model, node: &Node, theme: Theme, columns: usize) -> Vec<Cell> {
    let (mark, style) = theme.standing(node.standing(model.now));
    let mut lines = cells(&format!("{mark} {}  {}", node.name, model.state_word(node)), style, columns);
    lines.extend(nodes::about(model, node, theme, columns, usize::MAX));
    let tables = node.last.iter().filter_map(|reading| reading.tables.as_deref());
    for row in tables.flat_map(|tables| tables.waiting.iter().chain(&tables.active)) {
        if let Some(error) = &row.error {
            lines.extend(cells(&format!("table {}: {error}", row.name), theme.bad(), columns));
        }
    }
    lines
}

fn of_event(model: &Model, node: &str, event: &Event, theme: Theme, columns: usize) -> Vec<Cell> {
    let node = event.node.as_deref().unwrap_or(node);
    let operation = event.operation_id.map_or(String::new(), |id| format!(", operation {id}"));
    let at = instant(event.at, model.now, &model.zone);
    let mut lines = cells(&event.event, theme.severity(&event.severity), columns);
    lines.extend(cells(&format!("{at}, {}, node {node}{operation}", event.severity), Style::new(), columns));
    for (label, text) in [("table", &event.table_name), ("message", &event.message), ("hint", &event.hint)] {
        if let Some(text) = text {
            lines.extend(cells(&format!("{label}: {text}"), Style::new(), columns));
        }
    }
    lines
}

fn of_statement(model: &Model, node: &str, statement: &Statement, theme: Theme, columns: usize) -> Vec<Cell> {
    let took = statement.micros.map_or(String::new(), |micros| format!(", took {}", short_time(micros)));
    let at = instant(statement.at, model.now, &model.zone);
    let mut lines = cells(&format!("{at} on {node}{took}"), theme.title(), columns);
    lines.extend(cells(&statement.outcome, Style::new(), columns));
    lines.push(Cell::default());
    lines.extend(cells(&statement.sql, theme.key(), columns));
    lines
}

fn of_compared(a: &str, b: &str, row: &Compared, theme: Theme, columns: usize) -> Vec<Cell> {
    let (mark, style, words) = schema::status(theme, &row.status, a, b);
    let mut lines = cells(&format!("{mark} {}: {words}", row.name), style, columns);
    for part in row.difference.iter().flat_map(|text| text.split("; ")) {
        lines.extend(cells(part, Style::new(), columns));
    }
    lines
}

fn of_difference(a: &str, b: &str, row: &Difference, theme: Theme, columns: usize) -> Vec<Cell> {
    let title = format!("{} {}: {}", row.object_kind, row.object_name, row.change);
    let mut lines = cells(&title, if row.is_mismatch { theme.bad() } else { theme.title() }, columns);
    for (node, definition, style) in [(a, &row.definition_a, theme.good()), (b, &row.definition_b, theme.warning())] {
        lines.push(Cell::default());
        lines.extend(cells(&format!("on {node}"), theme.title(), columns));
        lines.extend(cells(schema::definition(definition.as_ref()), style, columns));
    }
    lines.push(Cell::default());
    lines.extend(cells(&schema::remedy(b), theme.title(), columns));
    lines.extend(cells(schema::ddl(row), Style::new(), columns));
    lines
}
