//! Which key does what, where. The footer and the help are made of the same table, so they cannot lie.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::page::View;

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// One row up.
    Up,
    /// One row down.
    Down,
    /// One page up.
    PageUp,
    /// One page down.
    PageDown,
    /// To the first row.
    First,
    /// To the last row.
    Last,
    /// Opens the row.
    Open,
    /// The whole of what is chosen.
    Details,
    /// Leaves the page, or what is under way on it.
    Back,
    /// Ends.
    Quit,
    /// Keys and commands.
    Help,
    /// Begins a command.
    Command,
    /// Begins a filter.
    Filter,
    /// Statements that were run.
    Statements,
    /// What happened.
    Events,
    /// Compares two nodes.
    Schema,
    /// Snapshots of servers.
    Snapshots,
    /// Asks again.
    Again,
    /// Stays on the last row, or no more.
    Follow,
    /// Initializes a node.
    Initialize,
    /// Brings tables in, or initializes again.
    Reinitialize,
    /// Cancels the operation.
    Cancel,
    /// Resumes a failed operation, or confirms one that waits.
    GoOn,
    /// Draws everything anew.
    Repaint,
}

/// On which pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// On all.
    Everywhere,
    /// Where one node is chosen.
    OnNode,
    /// Among the nodes.
    Nodes,
    /// Among events or statements.
    Log,
    /// Where schemas are compared.
    Schema,
    /// Among the tables of a comparison.
    Compared,
    /// Where something is chosen that may be longer than its row.
    Rows,
    /// There, but where a row opens no other page.
    Ends,
    /// Where a filter has something to filter.
    Filtered,
}

/// A key.
pub struct Binding {
    /// The key.
    pub key: KeyCode,
    /// As it is written.
    pub shown: &'static str,
    /// What it does.
    pub action: Action,
    /// On which pages.
    pub place: Where,
    /// One or two words for the footer; empty when it has no place there.
    pub short: &'static str,
    /// A sentence for the help; empty for a second key of the same action.
    pub help: &'static str,
    /// Whether it changes something on a server.
    pub changes: bool,
}

const fn reads(
    key: KeyCode,
    shown: &'static str,
    action: Action,
    place: Where,
    short: &'static str,
    help: &'static str,
) -> Binding {
    Binding { key, shown, action, place, short, help, changes: false }
}

const fn changes(
    key: KeyCode,
    shown: &'static str,
    action: Action,
    place: Where,
    short: &'static str,
    help: &'static str,
) -> Binding {
    Binding { key, shown, action, place, short, help, changes: true }
}

/// All keys outside of forms and dialogs, the most wanted first.
pub const BINDINGS: &[Binding] = &[
    reads(
        KeyCode::Enter,
        "enter",
        Action::Open,
        Where::Nodes,
        "open",
        "open a node's operation, or what differs in a table",
    ),
    changes(
        KeyCode::Char('C'),
        "C",
        Action::Cancel,
        Where::OnNode,
        "cancel",
        "cancel the operation of the node and undo it",
    ),
    changes(
        KeyCode::Char('r'),
        "r",
        Action::GoOn,
        Where::OnNode,
        "resume",
        "resume what failed, confirm what waits for you",
    ),
    changes(KeyCode::Char('I'), "I", Action::Initialize, Where::OnNode, "init", "initialize the node from a source"),
    changes(
        KeyCode::Char('R'),
        "R",
        Action::Reinitialize,
        Where::OnNode,
        "refresh",
        "bring tables in that are new on the source",
    ),
    reads(KeyCode::Enter, "enter", Action::Open, Where::Compared, "diff", ""),
    reads(KeyCode::Enter, "enter", Action::Details, Where::Ends, "details", ""),
    reads(
        KeyCode::Char('f'),
        "f",
        Action::Follow,
        Where::Log,
        "follow",
        "events: stay on the newest line, or stop that",
    ),
    reads(KeyCode::Char('r'), "r", Action::Again, Where::Schema, "again", "a comparison: compare again"),
    reads(KeyCode::Char('s'), "s", Action::Schema, Where::Everywhere, "schema", "compare the schemas of two nodes"),
    reads(KeyCode::Char('e'), "e", Action::Events, Where::Everywhere, "events", "what happened, on all nodes"),
    reads(KeyCode::Char('?'), "?", Action::Help, Where::Everywhere, "help", "this page"),
    reads(KeyCode::Char('q'), "q", Action::Quit, Where::Everywhere, "quit", "quit; what runs in the servers goes on"),
    reads(KeyCode::Esc, "esc", Action::Back, Where::Everywhere, "", "back; stop what is under way; clear the filter"),
    reads(KeyCode::Char('d'), "d", Action::Details, Where::Rows, "", "details: the whole text about what is chosen"),
    reads(KeyCode::Char('/'), "/", Action::Filter, Where::Filtered, "filter", "show only rows that contain a text"),
    reads(KeyCode::Char(':'), ":", Action::Command, Where::Everywhere, "command", "type a command"),
    reads(
        KeyCode::Char('@'),
        "@",
        Action::Statements,
        Where::Everywhere,
        "sql",
        "the SQL that was run, and how long it took",
    ),
    reads(KeyCode::Char('S'), "S", Action::Snapshots, Where::Everywhere, "", "snapshots that a server keeps"),
    reads(KeyCode::Char('j'), "j", Action::Down, Where::Everywhere, "", "down (or the arrow)"),
    reads(KeyCode::Down, "down", Action::Down, Where::Everywhere, "", ""),
    reads(KeyCode::Char('k'), "k", Action::Up, Where::Everywhere, "", "up (or the arrow)"),
    reads(KeyCode::Up, "up", Action::Up, Where::Everywhere, "", ""),
    reads(KeyCode::Char('g'), "g", Action::First, Where::Everywhere, "", "to the first row (or Home)"),
    reads(KeyCode::Home, "home", Action::First, Where::Everywhere, "", ""),
    reads(KeyCode::Char('G'), "G", Action::Last, Where::Everywhere, "", "to the last row (or End)"),
    reads(KeyCode::End, "end", Action::Last, Where::Everywhere, "", ""),
    reads(KeyCode::PageDown, "PgDn", Action::PageDown, Where::Everywhere, "", "a page down (or space)"),
    reads(KeyCode::Char(' '), "space", Action::PageDown, Where::Everywhere, "", ""),
    reads(KeyCode::PageUp, "PgUp", Action::PageUp, Where::Everywhere, "", "a page up"),
];

/// Keys with Ctrl, for whoever is used to them; the first two work in forms and dialogs as well.
const WITH_CONTROL: &[(char, Action)] = &[
    ('c', Action::Quit),
    ('l', Action::Repaint),
    ('d', Action::PageDown),
    ('u', Action::PageUp),
    ('f', Action::PageDown),
    ('b', Action::PageUp),
    ('n', Action::Down),
    ('p', Action::Up),
];

/// Whether the pages of a binding include this one.
pub fn is_for(place: Where, view: &View) -> bool {
    match place {
        Where::Everywhere => true,
        Where::OnNode => matches!(view, View::Nodes | View::Operation(_)),
        Where::Nodes => matches!(view, View::Nodes),
        Where::Log => matches!(view, View::Events | View::Statements),
        Where::Schema => matches!(view, View::Schema(_) | View::Diff(_)),
        Where::Compared => matches!(view, View::Schema(_)),
        Where::Rows => !matches!(view, View::Help | View::Snapshots | View::Details(_)),
        Where::Ends => is_for(Where::Rows, view) && !is_for(Where::Nodes, view) && !is_for(Where::Compared, view),
        Where::Filtered => is_for(Where::Rows, view) || matches!(view, View::Help),
    }
}

/// What a key asks for on a page.
pub fn find(key: KeyEvent, view: &View) -> Option<(Action, bool)> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        let KeyCode::Char(c) = key.code else { return None };
        let found = WITH_CONTROL.iter().find(|(with, _)| *with == c.to_ascii_lowercase());
        return found.map(|&(_, action)| (action, false));
    }
    if key.modifiers.contains(KeyModifiers::ALT) {
        return None;
    }
    let found = BINDINGS.iter().find(|binding| binding.key == key.code && is_for(binding.place, view));
    found.map(|binding| (binding.action, binding.changes))
}

/// Commands of the command line, with what may follow them.
pub const COMMANDS: &[(&str, &str, &str, bool)] = &[
    ("nodes", "", "all nodes", false),
    ("node", "NODE", "the operation of a node", false),
    ("events", "[TEXT]", "what happened, with this text in it", false),
    ("schema", "[NODE NODE]", "compare the schemas of two nodes", false),
    ("snapshots", "", "snapshots that a server keeps", false),
    ("sql", "", "the SQL that was run", false),
    ("help", "", "keys and commands", false),
    ("init", "[NODE]", "initialize a node", true),
    ("refresh", "[NODE]", "bring in tables that are new on the source", true),
    ("reinit", "[NODE]", "the same; whole nodes once the server can do it", true),
    ("cancel", "[NODE]", "cancel the operation of a node", true),
    ("resume", "[NODE]", "resume the failed operation of a node", true),
    ("confirm", "[NODE]", "let an operation go on that waits for it", true),
    ("quit", "", "quit", false),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::model::page::{About, Asked, Comparison, TableDiff};

    #[test]
    fn no_key_means_two_things_on_one_page() {
        let (asks, a, b) = (crate::tui::snapshot::FIRST, String::new(), String::new());
        let views = [
            View::Nodes,
            View::Events,
            View::Statements,
            View::Help,
            View::Snapshots,
            View::Operation(asks),
            View::Schema(Comparison { asks, a: a.clone(), b: b.clone(), rows: Asked::No }),
            View::Diff(TableDiff { asks, a, b, table: String::new(), rows: Asked::No }),
            View::Details(Box::new(About::Node(asks))),
        ];
        for view in &views {
            for binding in BINDINGS {
                let same: Vec<_> =
                    BINDINGS.iter().filter(|other| other.key == binding.key && is_for(other.place, view)).collect();
                assert!(same.len() <= 1, "{} on {view:?}", binding.shown);
            }
        }
    }

    #[test]
    fn only_what_changes_a_server_is_marked_so() {
        let marked: Vec<Action> =
            BINDINGS.iter().filter(|binding| binding.changes).map(|binding| binding.action).collect();
        assert_eq!(marked, [Action::Cancel, Action::GoOn, Action::Initialize, Action::Reinitialize]);
    }
}
