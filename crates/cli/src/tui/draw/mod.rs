//! The screen as it follows from the model: a header, the page, a line about what happened, the keys.

mod canvas;
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
mod theme;

use ratatui::Frame;

use super::model::dialog::Preview;
use super::model::page::View;
use super::model::Model;
use canvas::Canvas;
use theme::Theme;

pub use help::lines as help_lines;
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
    }
    if let Some(dialog) = &model.dialog {
        let mut middle = screen.rows(header, height - header - below);
        dialogs::draw(model, dialog, &mut middle);
    }
    if below >= 1 {
        frame::line(model, &mut screen.rows(height - below, 1));
    } else if model.prompt.is_some() || model.notice.is_some() {
        frame::line(model, &mut screen.rows(height.saturating_sub(1), 1));
    }
    if below == 2 {
        frame::keys(model, &mut screen.rows(height - 1, 1));
    }
}

#[cfg(test)]
mod tests;
