//! All nodes, and below them what there is to say about the one under the cursor.

use std::collections::BTreeMap;

use ratatui::style::Style;
use steep_repl_core::node_state::NodeState;

use super::canvas::Canvas;
use super::table::{self, Cell, Column};
use super::theme::Theme;
use super::trouble::{self, cells};
use crate::tui::model::node::{Node, Standing};
use crate::tui::model::Model;
use crate::tui::snapshot::Contact;
use crate::words::{bytes, duration, first_of, moment, seconds_between};

const fn column(title: &'static str, least: usize, most: usize, priority: u8) -> Column {
    Column { title, least, most, right: false, priority }
}

const COLUMNS: [Column; 9] = [
    column("", 1, 1, 0),
    column("node", 8, 24, 0),
    column("state", 14, 14, 0),
    column("progress", 14, 24, 1),
    Column { right: true, ..column("left", 7, 8, 4) },
    Column { right: true, ..column("lag", 7, 8, 3) },
    column("health", 7, 7, 2),
    column("source", 8, 20, 5),
    column("problem", 12, 200, 6),
];

/// Slots below the list; of names, which are shorter, five times as many.
const SHOWN_OF_MANY: usize = 4;

/// Draws the page.
pub fn draw(model: &Model, canvas: &mut Canvas<'_>) {
    let shown = model.nodes_shown();
    if shown.is_empty() {
        let filter = model.pages.first().map_or("", |page| page.filter.as_str());
        let quiet = canvas.theme.quiet();
        canvas.text(1, 1, &format!("no node contains \"{filter}\"; esc clears the filter"), quiet);
        return;
    }
    let cursor = model.pages.first().map_or(0, |page| page.cursor).min(shown.len() - 1);
    let (width, height) = (canvas.width(), canvas.height());
    let theme = canvas.theme;
    let about =
        shown.get(cursor).map_or(Vec::new(), |node| about(model, node, theme, width.saturating_sub(2), SHOWN_OF_MANY));
    // The list keeps half of the room, and all that the text does not need.
    let list = (height.saturating_sub(about.len() + 1)).max(height / 2).min(height);
    let list = if height - list < 2 { height } else { list };
    table::draw(&mut canvas.rows(0, list), &COLUMNS, shown.len(), Some(cursor), |n| {
        shown.get(n).map_or(Vec::new(), |node| row(model, node, theme, if width < 110 { 6 } else { 14 }))
    });
    let mut below = canvas.rows(list, height - list);
    below.rule(0, shown.get(cursor).map_or("", |node| node.name.as_str()));
    below.lines(1, &about);
}

fn row(model: &Model, node: &Node, theme: Theme, bar: usize) -> Vec<Cell> {
    let standing = node.standing(model.now);
    let (mark, style) = theme.standing(standing);
    let status = node.status();
    let busy = node.is_busy() && !matches!(standing, Standing::Unreachable);
    let failed = standing == Standing::State(NodeState::Failed);
    let progress = node.progress().filter(|_| busy || failed);
    let (bar, left) = progress.map_or((String::new(), String::new()), |progress| {
        let percent = progress.overall_percent;
        let left = progress.eta.filter(|_| busy).map(|eta| duration(seconds_between(model.now, eta)));
        (format!("{} {percent:>5.1} %", theme.bar(percent, bar)), left.unwrap_or_default())
    });
    let lag = if standing == Standing::Unreachable { None } else { model.lag(node) };
    let health = match standing {
        Standing::Unreachable => "error",
        Standing::Source => "ok",
        _ => status.map_or("", |status| status.health.as_str()),
    };
    let problem = node.complaint(model.now).unwrap_or_default();
    vec![
        (mark.to_owned(), style),
        (node.name.clone(), Style::new()),
        (model.state_word(node), style),
        (bar, if failed { theme.bad() } else { theme.busy() }),
        (left, Style::new()),
        (lag.map_or(String::new(), |lag| bytes(lag as f64)), Style::new()),
        (health.to_owned(), theme.severity(health)),
        (status.and_then(|status| status.source.as_deref()).unwrap_or_default().to_owned(), Style::new()),
        (problem, if health == "ok" { Style::new() } else { theme.severity(health) }),
    ]
}

/// Writes what there is to say about a node.
pub fn lines(model: &Model, node: &Node, canvas: &mut Canvas<'_>, y: usize) {
    let about = about(model, node, canvas.theme, canvas.width().saturating_sub(2), SHOWN_OF_MANY);
    canvas.lines(y, &about);
}

/// What there is to say about a node, and what one can do about it; of what there may be many only so many.
pub fn about(model: &Model, node: &Node, theme: Theme, width: usize, most: usize) -> Vec<Cell> {
    let mut lines: Vec<Cell> = Vec::new();
    let mut say = |text: &str, style: Style| lines.extend(cells(text, style, width));
    let standing = node.standing(model.now);
    if let Some(reason) = node.unreachable_because(model.now) {
        say(&reason, theme.bad());
        if let Some(Contact::Unreachable { since, next_try, .. }) =
            node.snapshot.as_deref().map(|snapshot| &snapshot.contact)
        {
            let (since, next) = (seconds_between(*since, model.now), seconds_between(model.now, *next_try));
            say(&format!("since {}, tried again in {}", duration(since), duration(next)), Style::new());
        }
        if let Some(status) = node.status() {
            say(&format!("when it last answered it was {}", status.state), Style::new());
        }
    }
    match standing {
        Standing::Connecting => say("connecting ...", theme.quiet()),
        Standing::Source => {
            say("a database without the extension: a source that others copy from", Style::new());
            let slots = node.server().map(|server| &server.slots);
            let all = slots.map_or(0, BTreeMap::len);
            for (name, slot) in slots.into_iter().flatten().take(most) {
                let reader = if slot.active { "" } else { ", nobody reads from it" };
                let lag = slot.lag_bytes.map_or(String::new(), |lag| format!("{} behind", bytes(lag as f64)));
                say(&format!("slot {name}: {lag}{reader}"), if slot.active { Style::new() } else { theme.warning() });
            }
            if all > most {
                say(&format!("and {} more slots", all - most), theme.quiet());
            }
        }
        Standing::Unregistered => {
            say("The extension is here, but this database is not registered as a node. In it:", theme.warning());
            say("select steep_repl.register_node('NAME', 'host=... dbname=...', is_local => true);", Style::new());
        }
        _ => {}
    }
    let progress = node.progress().filter(|_| node.is_busy());
    lines.extend(trouble::of_node(node.status(), progress, theme, width));
    let mut say = |text: &str, style: Style| lines.extend(cells(text, style, width));
    if let Some(status) = node.status() {
        let missing = status.tables_not_subscribed.as_deref().unwrap_or_default();
        if !missing.is_empty() {
            let names = first_of(missing, most.saturating_mul(5));
            say(&format!("not replicated: {names}"), theme.warning());
        }
        if let Some(advice) = advice(standing, !missing.is_empty()).filter(|_| !model.read_only) {
            say(advice, theme.good());
        }
        if let Some(at) = status.updated_at.filter(|_| standing != Standing::Unreachable) {
            let since = seconds_between(at, model.now);
            let source = status.source.as_ref().map_or(String::new(), |source| format!(", from {source}"));
            let lag = model.lag(node).map_or(String::new(), |lag| format!(", {} behind", bytes(lag as f64)));
            let at = moment(at, model.now, &model.zone);
            say(&format!("{} since {at} ({}){source}{lag}", status.state, duration(since)), Style::new());
        }
    }
    if let Some(snapshot) = &node.snapshot {
        let owner = node
            .status()
            .and_then(|status| status.owner.as_deref())
            .map_or(String::new(), |owner| format!("  owner {owner}"));
        let version = node.server().map_or(String::new(), |server| match &server.extension {
            Some(extension) => format!("  PostgreSQL {}, steep_repl {extension}", server.version),
            None => format!("  PostgreSQL {}", server.version),
        });
        say(&format!("{}{version}{owner}", snapshot.place), theme.quiet());
    }
    lines
}

fn advice(standing: Standing, lacks_tables: bool) -> Option<&'static str> {
    match standing {
        Standing::State(NodeState::Uninitialized) => Some("I initializes it."),
        Standing::State(NodeState::Failed) => {
            Some("r resumes it after the last finished table; C cancels and undoes it.")
        }
        Standing::State(NodeState::Synchronized | NodeState::Diverged) if lacks_tables => {
            Some("R brings these tables in.")
        }
        Standing::State(NodeState::Diverged) => Some("s shows how its tables differ from the source."),
        Standing::State(
            NodeState::Preparing | NodeState::Copying | NodeState::CatchingUp | NodeState::Reinitializing,
        ) => Some("enter shows how far it is; C cancels and undoes it."),
        _ => None,
    }
}
