//! Two nodes, table by table, and one table of them in detail.

use ratatui::style::Style;

use super::canvas::Canvas;
use super::table::{self, Cell, Column};
use super::theme::Theme;
use super::trouble::{self, cells};
use crate::tui::model::page::{compared_shown, differences_shown, Asked, Comparison, TableDiff};
use crate::tui::model::Model;
use crate::tui::snapshot::Difference;
use crate::words::wrap;

const fn column(title: &'static str, least: usize, most: usize, priority: u8) -> Column {
    Column { title, least, most, right: false, priority }
}

const TABLES: [Column; 4] =
    [column("", 1, 1, 0), column("table", 14, 44, 0), column("status", 11, 30, 0), column("difference", 16, 400, 1)];

/// Draws the comparison.
pub fn draw(model: &Model, comparison: &Comparison, canvas: &mut Canvas<'_>) {
    let theme = canvas.theme;
    let (a, b) = (&comparison.a, &comparison.b);
    let Some(rows) = here(model, &comparison.rows, &format!("comparing {a} and {b}"), canvas) else { return };
    let shown = compared_shown(rows, &model.page().filter);
    let differ = rows.iter().filter(|row| row.status != "MATCH").count();
    let title = match (rows.len(), differ) {
        (0, _) => format!("{a} and {b}: neither has a table"),
        (all, 0) => format!("{a} and {b}: all {all} tables match"),
        (all, n) => format!("{a} and {b}: {n} of {all} tables differ"),
    };
    canvas.text(1, 0, &title, if differ == 0 { theme.good() } else { theme.warning() });
    let cursor = model.page().row(shown.len());
    let height = canvas.height();
    let text = shown.get(cursor).and_then(|row| row.difference.as_deref()).unwrap_or_default();
    let columns = canvas.width().saturating_sub(2);
    let text: Vec<Cell> = text.split("; ").flat_map(|part| cells(part, Style::new(), columns)).collect();
    let below = if height < 9 || shown.is_empty() { 0 } else { (text.len() + 1).min(height / 3) };
    let list = height.saturating_sub(1 + below);
    table::draw(&mut canvas.rows(1, list), &TABLES, shown.len(), Some(cursor), |n| {
        let Some(row) = shown.get(n) else { return Vec::new() };
        let (mark, style, words) = status(theme, &row.status, a, b);
        vec![
            (mark.to_owned(), style),
            (row.name.clone(), Style::new()),
            (words, style),
            (row.difference.clone().unwrap_or_default(), Style::new()),
        ]
    });
    if below > 0 {
        let mut part = canvas.rows(height - below, below);
        part.rule(0, shown.get(cursor).map_or("", |row| row.name.as_str()));
        part.lines(1, &text);
    }
}

/// LOCAL_ONLY and REMOTE_ONLY name the sides of the call, which nobody remembers: the names of the nodes say it.
pub fn status(theme: Theme, status: &str, a: &str, b: &str) -> (&'static str, Style, String) {
    match status {
        "MATCH" => (theme.pick("=", "="), theme.good(), status.to_owned()),
        "MISMATCH" => (theme.pick("≠", "%"), theme.bad(), status.to_owned()),
        "LOCAL_ONLY" => ("<", theme.warning(), format!("only on {a}")),
        "REMOTE_ONLY" => (">", theme.warning(), format!("only on {b}")),
        "BUSY" => ("!", theme.warning(), "BUSY (locked)".to_owned()),
        other => ("?", theme.warning(), other.to_owned()),
    }
}

/// What was asked for, if it has come; else how that stands is drawn.
fn here<'a, T>(model: &Model, asked: &'a Asked<T>, what: &str, canvas: &mut Canvas<'_>) -> Option<&'a T> {
    let theme = canvas.theme;
    match asked {
        Asked::Here(rows) => return Some(rows),
        Asked::Waiting(_) => {
            let spinner = theme.spinner(model.now.as_millisecond());
            canvas.text(1, 1, &format!("{spinner} {what} ...  esc stops it"), theme.busy());
        }
        Asked::GivenUp => {
            canvas.text(1, 1, &format!("{what}: stopped; r begins again"), theme.warning());
        }
        Asked::No => {
            canvas.text(1, 1, "nothing was asked", theme.quiet());
        }
        Asked::Failed(trouble) => {
            canvas.text(1, 0, &format!("{what}: failed; r tries again"), theme.bad());
            canvas.lines(2, &trouble::lines(trouble, theme, canvas.width().saturating_sub(2)));
        }
    }
    None
}

/// Draws what differs in one table: both sides, and below the statements that bring the second in line.
pub fn draw_diff(model: &Model, diff: &TableDiff, canvas: &mut Canvas<'_>) {
    let theme = canvas.theme;
    let (a, b, table) = (&diff.a, &diff.b, &diff.table);
    let Some(rows) = here(model, &diff.rows, &format!("comparing {table} on {a} and {b}"), canvas) else { return };
    if rows.is_empty() {
        canvas.text(1, 1, &format!("{table} is the same on {a} and {b}"), theme.good());
        return;
    }
    let mismatches = rows.iter().filter(|row| row.is_mismatch).count();
    let title = match (rows.len(), mismatches) {
        (1, 0) => "1 difference, not in the way of replication".to_owned(),
        (1, _) => "1 difference, in the way of replication".to_owned(),
        (all, 0) => format!("{all} differences, none in the way of replication"),
        (all, n) => format!("{all} differences, {n} of them in the way of replication"),
    };
    canvas.text(1, 0, &title, if mismatches > 0 { theme.bad() } else { theme.warning() });
    let height = canvas.height();
    let rows = differences_shown(rows, &model.page().filter);
    let cursor = model.page().row(rows.len());
    let Some(chosen) = rows.get(cursor) else {
        canvas.text(1, 2, "no difference contains the filter", theme.quiet());
        return;
    };
    let columns = canvas.width().saturating_sub(2);
    let half = columns.saturating_sub(3) / 2;
    let side = |text: &Option<String>| wrap(definition(text.as_ref()), half.max(1));
    let (left, right) = (side(&chosen.definition_a), side(&chosen.definition_b));
    let list = (rows.len() + 1).min(height.saturating_sub(1) / 2);
    list_differences(theme, &rows, cursor, &mut canvas.rows(1, list));
    let mut y = 1 + list;
    let room = height.saturating_sub(y);
    let sides = (left.len().max(right.len()) + 1).min(room / 2);
    canvas.rule(y, "");
    canvas.part(2, y, half, 1).text(0, 0, &format!(" {a} "), theme.title());
    canvas.part(half + 4, y, half, 1).text(0, 0, &format!(" {b} "), theme.title());
    for n in 0..sides.saturating_sub(1) {
        let text = |lines: &[String]| lines.get(n).cloned().unwrap_or_default();
        canvas.text(1, y + 1 + n, &text(&left), theme.good());
        canvas.text(half + 2, y + 1 + n, theme.pick("│", "|"), theme.quiet());
        canvas.text(half + 4, y + 1 + n, &text(&right), theme.warning());
    }
    y += sides;
    canvas.more(y, left.len().max(right.len()).saturating_sub(sides.saturating_sub(1)));
    canvas.rule(y, &remedy(b));
    canvas.lines(y + 1, &cells(ddl(chosen), Style::new(), columns));
}

/// What a side has.
pub fn definition(text: Option<&String>) -> &str {
    text.map_or("(not there)", String::as_str)
}

/// What the statements are for.
pub fn remedy(b: &str) -> String {
    format!("to bring {b} in line, run there")
}

/// The statements.
pub fn ddl(row: &Difference) -> &str {
    row.ddl.as_deref().unwrap_or("none: see the other rows of this column, or make the table anew")
}

fn list_differences(theme: Theme, rows: &[&Difference], cursor: usize, canvas: &mut Canvas<'_>) {
    const COLUMNS: [Column; 4] =
        [column("", 1, 1, 0), column("what", 10, 18, 0), column("name", 8, 44, 0), column("change", 9, 40, 1)];
    table::draw(canvas, &COLUMNS, rows.len(), Some(cursor), |n| {
        let Some(row) = rows.get(n) else { return Vec::new() };
        let style = if row.is_mismatch { theme.bad() } else { Style::new() };
        let mark = if row.is_mismatch { theme.pick("≠", "%") } else { theme.to_come() };
        vec![
            (mark.to_owned(), style),
            (row.object_kind.clone(), Style::new()),
            (row.object_name.clone(), Style::new()),
            (row.change.clone(), style),
        ]
    });
}
