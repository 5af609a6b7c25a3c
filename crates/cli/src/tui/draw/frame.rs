//! What is around every page: the header, the line about what happened, the keys.

use ratatui::style::{Modifier, Style};
use steep_repl_core::node_state::NodeState;

use super::canvas::Canvas;
use super::theme::Theme;
use crate::tui::keys::{is_for, Action, Binding, BINDINGS};
use crate::tui::model::dialog::Dialog;
use crate::tui::model::node::Standing;
use crate::tui::model::page::{Asked, View};
use crate::tui::model::Model;
use crate::words::{clock, duration, seconds_between, width, wrap};

/// Where one is, how many nodes stand how, and the time.
pub fn header(model: &Model, canvas: &mut Canvas<'_>) {
    canvas.paint(0, canvas.theme.chosen());
    let style = canvas.theme.chosen();
    let arrow = canvas.theme.pick(" › ", " > ");
    let mut at: Vec<String> = model.pages.iter().map(|page| page.title(model)).collect();
    // On a narrow screen one wants to know where one is, not how one came there.
    let most = if canvas.width() < 70 { 2 } else { 4 };
    if at.len() > most {
        at.drain(..at.len() - most);
    }
    let path = at.join(arrow);
    let time = clock(model.now, &model.zone);
    let read_only = if model.read_only { "read-only  " } else { "" };
    let tail = format!("{read_only}{time} ");
    let counts = summary(model);
    let name = if canvas.width() < 50 { " " } else { " steep-repl  " };
    canvas.text(0, 0, &format!("{name}{path}"), style.add_modifier(Modifier::BOLD));
    let used = width(name) + width(&path);
    // What is worst stays longest.
    let fits = |text: &String| used + width(text) < canvas.width();
    let texts = (0..=counts.len()).rev().map(|n| format!(" {}  {tail}", join(&counts[..n])));
    if let Some(text) = texts.chain([tail.clone()]).find(fits) {
        canvas.text_right(0, &text, style);
    }
}

/// `5 nodes: 1 failed, 2 busy`.
fn join(counts: &[String]) -> String {
    let rest = counts.get(1..).unwrap_or_default().join(", ");
    let first = counts.first().map_or("", String::as_str);
    if rest.is_empty() {
        first.to_owned()
    } else {
        format!("{first}: {rest}")
    }
}

/// How many nodes there are, then how many want attention, the worst first.
fn summary(model: &Model) -> Vec<String> {
    let standings: Vec<Standing> = model.nodes.iter().map(|node| node.standing(model.now)).collect();
    let count = |wanted: &dyn Fn(Standing) -> bool| standings.iter().filter(|&&standing| wanted(standing)).count();
    let busy = |standing| {
        use NodeState::{CatchingUp, Copying, Preparing, Reinitializing};
        matches!(standing, Standing::State(Preparing | Copying | CatchingUp | Reinitializing))
    };
    let parts = [
        (count(&|standing| standing == Standing::State(NodeState::Failed)), "failed"),
        (count(&|standing| standing == Standing::Unreachable), "unreachable"),
        (count(&|standing| standing == Standing::State(NodeState::Diverged)), "diverged"),
        (count(&busy), "busy"),
    ];
    let nodes = if standings.len() == 1 { "1 node".to_owned() } else { format!("{} nodes", standings.len()) };
    let parts = parts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}"));
    std::iter::once(nodes).chain(parts).collect()
}

/// What happened, in lines. Its whole text is in sight, as far as it stays within reason; what a call has said is kept with its statement.
fn notice_lines(model: &Model, columns: usize) -> Vec<String> {
    const MOST: usize = 4;
    let text = model.notice.as_ref().map_or("", |notice| notice.text.as_str());
    let mut lines = wrap(text, columns.saturating_sub(4));
    if lines.len() > MOST {
        lines.truncate(MOST);
        lines.iter_mut().skip(MOST - 1).for_each(|last| last.push_str(Theme::new(model.look).ellipsis()));
    }
    lines
}

/// Rows that the line below takes.
pub fn rows_of_line(model: &Model, columns: usize) -> usize {
    if model.prompt.is_some() || model.notice.is_none() {
        1
    } else {
        notice_lines(model, columns).len()
    }
}

/// The line that is typed, or what happened, or what is waited for, or the filter.
pub fn line(model: &Model, canvas: &mut Canvas<'_>) {
    let theme = canvas.theme;
    canvas.clear();
    if let Some(prompt) = &model.prompt {
        let sign = if prompt.is_filter { "/" } else { ":" };
        canvas.text(0, 0, sign, theme.key());
        canvas.typed(1, 0, &prompt.line, Style::new());
    } else if let Some(notice) = &model.notice {
        for (y, line) in notice_lines(model, canvas.width()).iter().enumerate() {
            canvas.text(1, y, line, theme.gravity(notice.gravity));
        }
    } else if let Some(call) = model.calls.values().next() {
        let seconds = seconds_between(call.since, model.now);
        let text = format!("{} {}  {}", theme.spinner(model.now.as_millisecond()), duration(seconds), call.sql);
        canvas.text(1, 0, &text, theme.busy());
    } else if !model.page().filter.is_empty() {
        canvas.texts(
            0,
            &[
                (" filter ", theme.quiet()),
                (model.page().filter.as_str(), theme.key()),
                ("  esc clears it", theme.quiet()),
            ],
        );
    }
}

/// Whether a key would do something to the node that is chosen. The others work as well, and say why they do nothing.
fn applies(model: &Model, binding: &Binding) -> bool {
    if !binding.changes {
        return match (&model.page().view, binding.action) {
            (View::Schema(comparison), Action::Open) => {
                matches!(&comparison.rows, Asked::Here(rows) if !rows.is_empty())
            }
            (View::Diff(diff), Action::Details) => match &diff.rows {
                Asked::Here(rows) => !rows.is_empty(),
                asked => matches!(asked, Asked::Failed(_)),
            },
            // One is there already.
            (View::Events, Action::Events) | (View::Help, Action::Help) | (View::Statements, Action::Statements) => {
                false
            }
            _ => true,
        };
    }
    let Some(node) = model.chosen().filter(|_| !model.read_only) else { return false };
    let Standing::State(state) = node.standing(model.now) else { return false };
    let waits = node.progress().is_some_and(|progress| progress.phase == "schema");
    match binding.action {
        Action::Cancel => node.is_busy() || state == NodeState::Failed,
        Action::GoOn => state == NodeState::Failed || (node.is_busy() && waits),
        Action::Initialize => state == NodeState::Uninitialized,
        Action::Reinitialize => matches!(state, NodeState::Synchronized | NodeState::Diverged) && !node.is_busy(),
        _ => true,
    }
}

/// Keys that do something here, as many as fit; the way to all others stays in sight.
pub fn keys(model: &Model, canvas: &mut Canvas<'_>) {
    canvas.clear();
    let theme = canvas.theme;
    let mut keys: Vec<(&str, &str)> = match (&model.prompt, &model.dialog) {
        (Some(prompt), _) if prompt.is_filter => vec![("enter", "keep"), ("esc", "as before")],
        (Some(_), _) => vec![("enter", "do it"), ("tab", "complete"), ("esc", "leave")],
        (None, Some(Dialog::Form(form))) => {
            let sideways = if form.takes_text() { "cursor" } else { "value" };
            vec![("up/down", "field"), ("left/right", sideways), ("enter", "go on"), ("esc", "leave")]
        }
        (None, Some(Dialog::Preview(preview))) if preview.sent.is_some() => vec![("esc", "give up")],
        (None, Some(Dialog::Preview(preview))) if preview.failed.is_some() || preview.check.refuses() => {
            vec![("esc", "back"), ("up/down", "scroll")]
        }
        (None, Some(Dialog::Preview(preview))) => {
            let go = if preview.type_name.is_some() { "do it (name typed)" } else { "do it" };
            vec![("enter", go), ("esc", "back"), ("up/down", "scroll")]
        }
        (None, None) => {
            let view = &model.page().view;
            let shown = BINDINGS.iter().filter(|binding| !binding.short.is_empty() && is_for(binding.place, view));
            let back = (!matches!(view, View::Nodes)).then_some(("esc", "back"));
            back.into_iter()
                .chain(shown.filter(|binding| applies(model, binding)).map(|binding| (binding.shown, binding.short)))
                .collect()
        }
    };
    // Whole entries only: half a word helps nobody.
    let needs = |keys: &[(&str, &str)]| keys.iter().map(|(key, what)| width(key) + width(what) + 3).sum::<usize>();
    while needs(&keys) > canvas.width() + 1 {
        let Some(last) = keys.iter().rposition(|(key, _)| *key != "?") else { break };
        keys.remove(last);
    }
    let mut x = 1;
    for (key, what) in keys {
        x = canvas.text(x, 0, key, theme.key()) + 1;
        x = canvas.text(x, 0, what, theme.quiet()) + 2;
    }
}
