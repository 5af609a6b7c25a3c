//! The cursor.

use crate::tui::keys::Action;
use crate::tui::model::page::{compared_shown, events_shown, Asked, View};
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
            Asked::Here(rows) => rows.len(),
            _ => 0,
        },
        View::Operation(_) => crate::tui::draw::operation_rows(model),
        // A page of text: its lines are counted where they are laid out.
        View::Help => crate::tui::draw::help_lines(model),
        View::Snapshots => 0,
    }
}

/// Moves the cursor.
pub(super) fn go(model: &mut Model, action: Action) {
    let last = rows(model).saturating_sub(1);
    let screenful = usize::from(model.size.1.saturating_sub(6)).max(1);
    let follows = matches!(model.page().view, View::Events | View::Statements);
    let page = model.page_mut();
    let at = if page.follow { last } else { page.cursor.min(last) };
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
    let last = rows(model).saturating_sub(1);
    let page = model.page_mut();
    page.cursor = if page.follow { last } else { page.cursor.min(last) };
}
