//! Tables of an operation.

use ratatui::style::Style;

use super::canvas::Canvas;
use super::table::first_visible;
use super::theme::Theme;
use crate::tui::model::page::passes;
use crate::tui::model::Model;
use crate::tui::snapshot::{Reading, TableRow, Tables};
use crate::words::{bytes, count, short_time, width};

/// A line of the list of tables.
enum Line<'a> {
    Title(String),
    Table(&'a TableRow),
}

/// Lines of the list of tables, for the cursor.
pub fn rows(model: &Model) -> usize {
    let node = model.chosen();
    node.and_then(|node| node.last.as_ref()).map_or(0, |reading| lines(model, reading).len())
}

/// pending, running, cancelling, failed, cancelled or completed.
pub fn operation_status(reading: &Reading) -> &str {
    reading.own().and_then(|own| own.operation_status.as_deref()).unwrap_or_default()
}

fn lines<'a>(model: &Model, reading: &'a Reading) -> Vec<Line<'a>> {
    let Some(tables) = newest(reading) else { return Vec::new() };
    let filter = &model.page().filter;
    let mut lines = Vec::new();
    let of = |status: &str| tables.counts.get(status).copied().unwrap_or(0);
    let mut section = |title: String, rows: &'a [TableRow]| {
        let shown: Vec<&TableRow> = rows.iter().filter(|row| passes(filter, &[&row.name, &row.status])).collect();
        if !shown.is_empty() {
            lines.push(Line::Title(title));
            lines.extend(shown.into_iter().map(Line::Table));
        }
    };
    let more = |shown: usize, all: i64| {
        if i64::try_from(shown).is_ok_and(|shown| shown < all) {
            format!("{all}, the first {shown}")
        } else {
            all.to_string()
        }
    };
    let active = of("copying") + of("indexing") + of("vacuuming");
    let word = if operation_status(reading) == "failed" { "stopped half-way" } else { "active" };
    section(format!("{word}: {}", more(tables.active.len(), active)), &tables.active);
    let waiting = of("waiting") + of("deferred");
    let failed = of("failed");
    let title =
        if failed > 0 { format!("failed: {failed}, waiting: {waiting}") } else { format!("waiting: {waiting}") };
    let cut = if i64::try_from(tables.waiting.len()).is_ok_and(|shown| shown < waiting + failed) {
        format!(", the first {}", tables.waiting.len())
    } else {
        String::new()
    };
    section(format!("{title}{cut}"), &tables.waiting);
    let done = of("done");
    let newest = if i64::try_from(tables.finished.len()).is_ok_and(|shown| shown < done) {
        format!(", the last {}", tables.finished.len())
    } else {
        String::new()
    };
    section(format!("finished: {done}{newest}"), &tables.finished);
    lines
}

/// Tables, if they are those of the operation that is shown.
fn newest(reading: &Reading) -> Option<&Tables> {
    let operation = reading.progress.as_ref().map(|progress| progress.operation_id);
    reading.tables.as_deref().filter(|tables| Some(tables.operation_id) == operation)
}

/// Draws the list: what is worked on first, then what waits, then what was finished last.
pub fn draw(model: &Model, reading: &Reading, canvas: &mut Canvas<'_>) {
    let theme = canvas.theme;
    let Some(progress) = reading.progress.as_ref() else { return };
    let title = format!("tables: {} of {} done", progress.tables_done, progress.tables_total);
    canvas.rule(0, &title);
    if operation_status(reading) == "cancelled" {
        canvas.text(1, 1, "cancelled: what it had copied was taken away again", Style::new());
        return;
    }
    if newest(reading).is_none() {
        canvas.text(1, 1, "reading ...", theme.quiet());
        return;
    }
    let lines = lines(model, reading);
    let height = canvas.height().saturating_sub(1);
    let cursor = model.page().cursor.min(lines.len().saturating_sub(1));
    let first = first_visible(cursor, lines.len(), height);
    let name_width = lines
        .iter()
        .skip(first)
        .take(height)
        .map(|line| match line {
            Line::Table(row) => width(&row.name),
            Line::Title(_) => 0,
        })
        .max()
        .unwrap_or(0)
        .clamp(12, (canvas.width() / 2).max(12));
    // A name that is cut in its row stands above the list.
    if let Some(Line::Table(row)) = lines.get(cursor).filter(|_| cursor > 0) {
        if width(&row.name) > name_width {
            canvas.rule(0, &format!("{title}: {}", row.name));
        }
    }
    for (y, line) in lines.iter().skip(first).take(height).enumerate() {
        match line {
            Line::Title(title) => {
                canvas.text(1, y + 1, title, theme.title());
            }
            Line::Table(row) => table_line(theme, row, name_width, &mut canvas.rows(y + 1, 1)),
        }
        if first + y == cursor && cursor > 0 {
            canvas.paint(y + 1, theme.chosen());
        }
    }
}

fn table_line(theme: Theme, row: &TableRow, name_width: usize, canvas: &mut Canvas<'_>) {
    let (mark, style) = match row.status.as_str() {
        "done" => (theme.done(), theme.good()),
        "failed" => (theme.pick("✗", "X"), theme.bad()),
        "waiting" | "deferred" => (theme.to_come(), theme.quiet()),
        _ => (theme.now(), theme.busy()),
    };
    canvas.text(2, 0, mark, style);
    canvas.part(4, 0, name_width, 1).text(0, 0, &row.name, Style::new());
    let mut rest = canvas.part(4 + name_width + 2, 0, usize::MAX, 1);
    let size = bytes(row.bytes_total as f64);
    match row.status.as_str() {
        "waiting" => {
            rest.text(0, 0, &format!("{size:>8}"), theme.quiet());
        }
        "done" => {
            let times: Vec<String> = [("copy", row.copy_ms), ("index", row.index_ms)]
                .iter()
                .filter_map(|(what, ms)| ms.map(|ms| format!("{what} {}", short_time((ms.max(0.0) * 1e3) as u64))))
                .collect();
            rest.text(
                0,
                0,
                &format!("{size:>8}  {:>7} rows  {}", count(row.rows_done as f64), times.join(", ")),
                Style::new(),
            );
        }
        "failed" => {
            rest.text(0, 0, row.error.as_deref().unwrap_or("failed"), theme.bad());
        }
        status => {
            let amount = format!("{:>8} of {size:>8}", bytes(row.bytes_done as f64));
            let tail = format!(" {:>5.1} %  {status:<9}", row.percent);
            let with_amount = format!("{tail}  {amount}");
            let error = row.error.as_deref().map_or(String::new(), |error| format!("  {error}"));
            let tail = if rest.width() >= width(&with_amount) + 8 { with_amount } else { tail };
            let bar = theme.bar(row.percent, rest.width().saturating_sub(width(&tail)).clamp(0, 24));
            let x = rest.text(0, 0, &bar, theme.busy());
            let x = rest.text(x, 0, &tail, Style::new());
            rest.text(x, 0, &error, theme.warning());
        }
    }
}
