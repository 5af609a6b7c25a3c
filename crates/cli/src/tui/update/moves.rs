//! The cursor.

use crate::tui::draw::{furthest_of_text, operation_rows};
use crate::tui::keys::Action;
use crate::tui::model::page::{compared_shown, differences_shown, events_shown, Asked, View};
use crate::tui::model::Model;

/// Rows of the page that is shown.
pub(super) fn rows(model: &Model) -> usize {
    let page = model.page();
    match &page.view {
        View::Nodes => model.nodes_shown().len(),
        View::Events => events_shown(model).len(),
        View::Statements => model.statements_shown().len(),
        View::Schema(comparison) => match &comparison.rows {
            Asked::Here(rows) => compared_shown(rows, &page.filter).len(),
            _ => 0,
        },
        View::Diff(diff) => match &diff.rows {
            Asked::Here(rows) => differences_shown(rows, &page.filter).len(),
            _ => 0,
        },
        View::Operation(_) => operation_rows(model),
        // Pages of text: the cursor is how far they are scrolled.
        View::Help | View::Snapshots | View::Details(_) => furthest_of_text(model) + 1,
    }
}

/// Moves the cursor.
pub(super) fn go(model: &mut Model, action: Action) {
    let rows = rows(model);
    let last = rows.saturating_sub(1);
    let screenful = usize::from(model.size.1.saturating_sub(6)).max(1);
    let follows = matches!(model.page().view, View::Events | View::Statements);
    let page = model.page_mut();
    let at = page.row(rows);
    page.cursor = match action {
        Action::Up => at.saturating_sub(1),
        Action::Down => (at + 1).min(last),
        Action::PageUp => at.saturating_sub(screenful),
        Action::PageDown => (at + screenful).min(last),
        Action::First => 0,
        Action::Last => last,
        _ => at,
    };
    // Whoever looks further up does not want to be pulled down by the next line.
    page.follow = follows && (action == Action::Last || (page.follow && page.cursor == last));
}

/// Puts the cursor where the page shows it, which is at the end while it follows.
pub(super) fn settle(model: &mut Model) {
    let rows = rows(model);
    let page = model.page_mut();
    page.cursor = page.row(rows);
}
