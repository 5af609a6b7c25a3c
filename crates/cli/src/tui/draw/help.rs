//! Keys, commands and marks.

use ratatui::style::Style;
use steep_repl_core::node_state::NodeState;

use super::canvas::Canvas;
use super::text;
use super::theme::Theme;
use crate::tui::keys::{BINDINGS, COMMANDS};
use crate::tui::model::node::Standing;
use crate::tui::model::page::passes;
use crate::tui::model::Model;

type Entry = (String, Style, &'static str);

/// How many lines there are.
pub fn lines(model: &Model) -> usize {
    entries(model, Theme::new(model.look)).len()
}

fn entries(model: &Model, theme: Theme) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let title = |entries: &mut Vec<Entry>, text: &str| {
        if !entries.is_empty() {
            entries.push((String::new(), Style::new(), ""));
        }
        entries.push((text.to_owned(), theme.title(), ""));
    };
    title(&mut entries, if model.read_only { "keys (read-only: nothing can be changed)" } else { "keys" });
    let allowed = |changes: bool| !(changes && model.read_only);
    let keys = BINDINGS.iter().filter(|binding| !binding.help.is_empty() && allowed(binding.changes));
    entries.extend(keys.map(|binding| (binding.shown.to_owned(), theme.key(), binding.help)));
    entries.push(("ctrl-l".to_owned(), theme.key(), "draw everything anew"));
    title(&mut entries, "commands");
    let commands = COMMANDS.iter().filter(|(.., changes)| allowed(*changes));
    entries.extend(commands.map(|(name, rest, help, _)| (format!(":{name} {rest}"), theme.key(), *help)));
    title(&mut entries, "states");
    let states = [
        (NodeState::Uninitialized, "nothing was copied yet, or a cancel put everything back"),
        (NodeState::Preparing, "publication, slot and subscription are being made"),
        (NodeState::Copying, "tables are being copied and their indexes built; do not read them"),
        (NodeState::CatchingUp, "works off what happened on the source since; do not read tables"),
        (NodeState::Synchronized, "follows its source"),
        (NodeState::Diverged, "followed its source once; data or schema differ now"),
        (NodeState::Failed, "the operation stopped; resume or cancel it"),
        (NodeState::Reinitializing, "tables of a node that was in use are being copied again"),
    ];
    let others = [
        (Standing::Source, "source", "a database without the extension, which others copy from"),
        (Standing::Unregistered, "no node here", "has the extension, but is not registered as a node in itself"),
        (Standing::Connecting, "connecting", "has not answered yet"),
        (Standing::Unreachable, "unreachable", "does not answer; the reason stands below the list"),
    ];
    let states = states.into_iter().map(|(state, help)| (Standing::State(state), state.as_str(), help));
    entries.extend(states.chain(others).map(|(standing, word, help)| {
        let (mark, style) = theme.standing(standing);
        (format!("{mark} {word}"), style, help)
    }));
    let filter = &model.page().filter;
    if !filter.is_empty() {
        entries.retain(|(key, _, help)| !help.is_empty() && passes(filter, &[key, help]));
    }
    entries
}

/// Draws the page; the cursor says how far it is scrolled.
pub fn draw(model: &Model, canvas: &mut Canvas<'_>) {
    let entries = entries(model, canvas.theme);
    text::draw(canvas, entries.len(), model.page().cursor, |canvas, n, y| {
        let Some((key, style, help)) = entries.get(n) else { return };
        let x = canvas.text(1, y, key, *style);
        if !help.is_empty() {
            // Keys are short, commands and states are not.
            let column = if key.chars().count() < 7 { 8 } else { 22 };
            canvas.text(column.max(x + 1), y, help, Style::new());
        }
    });
}
