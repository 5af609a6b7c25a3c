//! The screen as it follows from the model: a header, the page, a line about what happened, the keys.

mod canvas;
mod details;
mod dialogs;
mod events;
mod frame;
mod help;
mod nodes;
mod operation;
mod schema;
mod snapshots;
mod statements;
mod table;
mod tables;
mod text;
mod theme;
mod trouble;

use ratatui::Frame;

use super::model::dialog::Preview;
use super::model::page::View;
use super::model::Model;
use canvas::Canvas;
use theme::Theme;

pub use tables::rows as operation_rows;

/// Rows above the page and below it. With little room the keys go first, then the line above them, then the header.
fn around(height: usize) -> (usize, usize) {
    match height {
        0..4 => (0, 0),
        4..6 => (1, 0),
        6..9 => (1, 1),
        _ => (1, 2),
    }
}

/// Columns and rows of the page.
fn body(model: &Model) -> (usize, usize) {
    let (columns, height) = (usize::from(model.size.0), usize::from(model.size.1));
    let (header, below) = around(height);
    (columns, height - header - below)
}

/// How far down a page of text can be scrolled.
pub fn furthest_of_text(model: &Model) -> usize {
    let (columns, height) = body(model);
    match &model.page().view {
        View::Help => text::furthest(help::lines(model), height),
        View::Details(about) => {
            text::furthest(details::lines(model, about, Theme::new(model.look), columns).len(), height)
        }
        View::Snapshots => text::furthest(snapshots::lines(model), height.saturating_sub(snapshots::ABOVE)),
        _ => 0,
    }
}

/// How far down what is to be confirmed can be scrolled.
pub fn furthest_of_preview(model: &Model, preview: &Preview) -> usize {
    let (columns, height) = body(model);
    dialogs::furthest(model, preview, columns, height)
}

/// Draws everything.
pub fn draw(model: &Model, frame: &mut Frame<'_>) {
    let area = frame.area();
    let mut screen = Canvas::new(frame.buffer_mut(), area, Theme::new(model.look));
    let height = screen.height();
    let (header, below) = around(height);
    if header == 1 {
        frame::header(model, &mut screen.rows(0, 1));
    }
    let mut body = screen.rows(header, height - header - below);
    match &model.page().view {
        View::Nodes => nodes::draw(model, &mut body),
        View::Operation(id) => operation::draw(model, *id, &mut body),
        View::Events => events::draw(model, &mut body),
        View::Schema(comparison) => schema::draw(model, comparison, &mut body),
        View::Diff(diff) => schema::draw_diff(model, diff, &mut body),
        View::Snapshots => snapshots::draw(model, &mut body),
        View::Statements => statements::draw(model, &mut body),
        View::Help => help::draw(model, &mut body),
        View::Details(about) => details::draw(model, about, &mut body),
    }
    if let Some(dialog) = &model.dialog {
        let mut middle = screen.rows(header, height - header - below);
        dialogs::draw(model, dialog, &mut middle);
    }
    // With no row of its own the line is there only while it says something; a long one covers the end of the page.
    if below >= 1 || model.prompt.is_some() || model.notice.is_some() {
        let end = height - below.saturating_sub(1);
        let rows = frame::rows_of_line(model, screen.width()).min(end);
        frame::line(model, &mut screen.rows(end - rows, rows));
    }
    if below == 2 {
        frame::keys(model, &mut screen.rows(height - 1, 1));
    }
}

#[cfg(test)]
mod tests;
