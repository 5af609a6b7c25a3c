//! What went wrong, and what to do about it.

use ratatui::style::Style;

use super::table::Cell;
use super::theme::Theme;
use crate::tui::message::Trouble;
use crate::tui::snapshot::{NodeStatus, Progress};
use crate::words::wrap;

/// What a server or the network said.
pub fn lines(trouble: &Trouble, theme: Theme, columns: usize) -> Vec<Cell> {
    let sqlstate = trouble.sqlstate.as_deref().map_or(String::new(), |sqlstate| format!(" (SQLSTATE {sqlstate})"));
    let mut lines = cells(&format!("error: {}{sqlstate}", trouble.message), theme.bad(), columns);
    for (label, text) in [("detail", &trouble.detail), ("hint", &trouble.hint)] {
        if let Some(text) = text {
            lines.extend(cells(&format!("{label}: {text}"), Style::new(), columns));
        }
    }
    lines
}

/// What a node says about itself; the error of its operation counts when it has none of its own.
pub fn of_node(status: Option<&NodeStatus>, progress: Option<&Progress>, theme: Theme, columns: usize) -> Vec<Cell> {
    let own = status.filter(|status| status.last_error.is_some());
    let error = own.and_then(|own| own.last_error.clone()).or_else(|| progress.and_then(|one| one.error.clone()));
    let mut found = error.map_or(Vec::new(), |message| {
        let of = |field: fn(&NodeStatus) -> &Option<String>| own.and_then(|own| field(own).clone());
        let (sqlstate, detail, hint) = (of(|own| &own.sqlstate), of(|own| &own.detail), of(|own| &own.hint));
        lines(&Trouble { message, sqlstate, detail, hint }, theme, columns)
    });
    if let Some((status, notice)) = status.and_then(|status| Some((status, status.notice.as_ref()?))) {
        // While it works, that some indexes are suspended is as it should be.
        let style = if status.is_busy() { theme.quiet() } else { theme.warning() };
        found.extend(cells(&format!("notice: {notice}"), style, columns));
    }
    found
}

/// A text in lines.
pub fn cells(text: &str, style: Style, columns: usize) -> Vec<Cell> {
    wrap(text, columns).into_iter().map(|line| (line, style)).collect()
}
