//! The SQL that was run: the newest of each statement that is repeated, and every call.

use ratatui::style::Style;

use super::canvas::Canvas;
use super::table::{self, Column};
use super::trouble::cells;
use crate::tui::model::Model;
use crate::words::{clock, short_time};

const COLUMNS: [Column; 5] = [
    Column { title: "time", least: 8, most: 8, right: false, priority: 0 },
    Column { title: "node", least: 8, most: 16, right: false, priority: 3 },
    Column { title: "took", least: 7, most: 8, right: true, priority: 1 },
    Column { title: "result", least: 10, most: 24, right: false, priority: 2 },
    Column { title: "statement", least: 16, most: 400, right: false, priority: 0 },
];

/// Draws the page.
pub fn draw(model: &Model, canvas: &mut Canvas<'_>) {
    let theme = canvas.theme;
    let statements = model.statements_shown();
    if statements.is_empty() {
        canvas.text(1, 1, "nothing was run yet", theme.quiet());
        return;
    }
    let page = model.page();
    let cursor = page.row(statements.len());
    let sql = statements.get(cursor).map_or("", |(_, statement)| statement.sql.as_str());
    let text = cells(sql, Style::new(), canvas.width().saturating_sub(2));
    let height = canvas.height();
    let below = if height < 8 { 0 } else { (text.len() + 1).min(height / 2) };
    table::draw(&mut canvas.rows(0, height - below), &COLUMNS, statements.len(), Some(cursor), |n| {
        let Some((node, statement)) = statements.get(n) else { return Vec::new() };
        vec![
            (clock(statement.at, &model.zone), theme.quiet()),
            ((*node).to_owned(), Style::new()),
            (statement.micros.map_or("-".to_owned(), short_time), Style::new()),
            (statement.outcome.clone(), Style::new()),
            (statement.sql.split_whitespace().collect::<Vec<_>>().join(" "), Style::new()),
        ]
    });
    if below > 0 {
        let mut part = canvas.rows(height - below, below);
        part.rule(0, &format!("{} of {}", cursor + 1, statements.len()));
        part.lines(1, &text);
    }
}
