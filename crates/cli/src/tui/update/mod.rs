//! How the model follows from what has happened. Nothing here waits, reads a clock or touches the world: what is to be done outside
//! goes out as an [`Effect`].

mod answers;
mod commands;
mod dialogs;
mod forms;
mod moves;
mod seen;
mod typing;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::call::Call;
use super::keys::{self, Action};
use super::message::{Effect, Message, Ticket};
use super::model::dialog::Dialog;
use super::model::line::Line;
use super::model::page::{about, Asked, Page, View};
use super::model::{Gravity, Model, Prompt, Underway};
use super::snapshot::{NodeId, Statement};

/// Takes in what has happened.
pub fn update(model: &mut Model, message: Message) -> Vec<Effect> {
    match message {
        Message::Tick(now) => tick(model, now),
        Message::Resize(columns, rows) => {
            model.size = (columns, rows);
            Vec::new()
        }
        Message::Seen(id, snapshot) => seen::seen(model, id, &snapshot),
        Message::Answered(ticket, answer, statement) => answers::answered(model, ticket, *answer, statement),
        Message::Terminate => vec![Effect::Quit],
        Message::Key(key) if key.kind == KeyEventKind::Release => Vec::new(),
        Message::Key(key) => pressed(model, key),
        Message::Paste(text) => pasted(model, &text),
    }
}

fn tick(model: &mut Model, now: jiff::Timestamp) -> Vec<Effect> {
    /// Time after which a connection is given up that neither answers nor fails.
    const GIVEN_UP_AFTER: i64 = 30;
    if now < model.now {
        model.clock_was_set_back(now);
    }
    model.now = now;
    model.forget_notice();
    let mut effects = Vec::new();
    for node in &mut model.nodes {
        let silent = node.silent_for(now).is_some_and(|seconds| seconds >= GIVEN_UP_AFTER);
        // A new one gets as much time as the old one had.
        if silent && crate::words::seconds_between(node.since, now) >= GIVEN_UP_AFTER {
            node.since = now;
            effects.push(Effect::Rewatch(node.id));
        }
    }
    effects
}

fn pressed(model: &mut Model, key: KeyEvent) -> Vec<Effect> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        match key.code {
            KeyCode::Char('c') => return vec![Effect::Quit],
            KeyCode::Char('l') => return vec![Effect::Repaint],
            _ => {}
        }
    }
    if model.prompt.is_some() {
        return commands::typed(model, key);
    }
    if model.dialog.is_some() {
        return dialogs::pressed(model, key);
    }
    let Some((action, changes)) = keys::find(key, &model.page().view) else { return Vec::new() };
    if changes && model.read_only {
        return refuse(model);
    }
    act(model, action)
}

/// A text that is pasted goes into the line that is typed. Elsewhere its letters would be keys, and who knows what they do.
fn pasted(model: &mut Model, text: &str) -> Vec<Effect> {
    let takes_text = match (&model.prompt, &model.dialog) {
        (Some(_), _) => true,
        (None, Some(Dialog::Form(form))) => form.takes_text(),
        (None, Some(Dialog::Preview(preview))) => preview.type_name.is_some(),
        (None, None) => false,
    };
    if !takes_text {
        return Vec::new();
    }
    let letters = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    letters.flat_map(|c| pressed(model, KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE))).collect()
}

/// Says that nothing can be changed.
fn refuse(model: &mut Model) -> Vec<Effect> {
    model.say(Gravity::Warning, "started with --read-only: nothing can be changed");
    Vec::new()
}

fn act(model: &mut Model, action: Action) -> Vec<Effect> {
    match action {
        Action::Up | Action::Down | Action::PageUp | Action::PageDown | Action::First | Action::Last => {
            moves::go(model, action);
            Vec::new()
        }
        Action::Open => open(model),
        Action::Details => match about(model) {
            Some(about) => show(model, View::Details(Box::new(about))),
            None => Vec::new(),
        },
        Action::Back => back(model),
        Action::Quit => vec![Effect::Quit],
        Action::Repaint => vec![Effect::Repaint],
        Action::Help => show(model, View::Help),
        Action::Statements => show(model, View::Statements),
        Action::Events => show(model, View::Events),
        Action::Snapshots => show(model, View::Snapshots),
        Action::Schema => forms::open_compare(model),
        Action::Again => again(model),
        Action::Follow => {
            let follow = model.page().follow;
            moves::settle(model);
            model.page_mut().follow = !follow;
            Vec::new()
        }
        Action::Command | Action::Filter => {
            let is_filter = action == Action::Filter;
            let before = (model.page().filter.clone(), model.page().cursor);
            let line = if is_filter { Line::new(before.0.as_str()) } else { Line::default() };
            model.prompt = Some(Prompt { is_filter, line, before });
            Vec::new()
        }
        Action::Initialize => forms::open_init(model),
        Action::Reinitialize => forms::open_refresh(model),
        Action::Cancel => dialogs::open_cancel(model),
        Action::GoOn => dialogs::open_go_on(model),
    }
}

/// Goes to a page; one that was gone through already is not gone through twice.
fn show(model: &mut Model, view: View) -> Vec<Effect> {
    let same = |page: &Page| std::mem::discriminant(&page.view) == std::mem::discriminant(&view);
    let mut effects = Vec::new();
    // Details belong to the page below them; one does not come back to them from another one.
    if matches!(model.page().view, View::Details(_)) {
        effects.extend(leave(model));
    }
    if let Some(at) = model.pages.iter().position(same) {
        while model.pages.len() > at + 1 {
            effects.extend(leave(model));
        }
        if view != View::Nodes && model.page().view != view {
            effects.extend(leave(model));
            model.pages.push(Page::new(view));
        }
    } else {
        model.pages.push(Page::new(view));
    }
    effects.push(focus(model));
    effects
}

/// Takes the page away, with what it waits for.
fn leave(model: &mut Model) -> Option<Effect> {
    if model.pages.len() <= 1 {
        return None;
    }
    let page = model.pages.pop()?;
    let ticket = match page.view {
        View::Schema(comparison) => waited_for(&comparison.rows),
        View::Diff(diff) => waited_for(&diff.rows),
        _ => None,
    };
    ticket.map(|ticket| abandon(model, ticket))
}

fn waited_for<T>(asked: &Asked<T>) -> Option<Ticket> {
    match asked {
        Asked::Waiting(ticket) => Some(*ticket),
        _ => None,
    }
}

/// The tables of the node that is looked at are read, and no others.
fn focus(model: &Model) -> Effect {
    Effect::Focus(model.looked_at())
}

fn open(model: &mut Model) -> Vec<Effect> {
    match model.page().view.clone() {
        View::Nodes => match model.chosen().map(|node| node.id) {
            Some(id) => show(model, View::Operation(id)),
            None => Vec::new(),
        },
        View::Schema(comparison) => forms::open_diff(model, &comparison),
        _ => Vec::new(),
    }
}

fn back(model: &mut Model) -> Vec<Effect> {
    // What is under way is stopped first, then the filter goes, then the page.
    let stopped = match &mut model.page_mut().view {
        View::Schema(comparison) => waited_for(&comparison.rows).inspect(|_| comparison.rows = Asked::GivenUp),
        View::Diff(diff) => waited_for(&diff.rows).inspect(|_| diff.rows = Asked::GivenUp),
        _ => None,
    };
    if let Some(ticket) = stopped {
        return vec![abandon(model, ticket)];
    }
    if !model.page().filter.is_empty() {
        model.page_mut().filter.clear();
        return Vec::new();
    }
    if model.pages.len() <= 1 {
        model.say(Gravity::Info, "q quits");
        return Vec::new();
    }
    let mut effects: Vec<Effect> = leave(model).into_iter().collect();
    effects.push(focus(model));
    effects
}

fn again(model: &mut Model) -> Vec<Effect> {
    let (asks, call) = match &model.page().view {
        View::Schema(c) if waited_for(&c.rows).is_none() => (c.asks, Call::compare(&c.a, &c.b)),
        View::Diff(d) if waited_for(&d.rows).is_none() => (d.asks, Call::diff(&d.a, &d.b, &d.table)),
        _ => return Vec::new(),
    };
    let (ticket, effect) = run(model, asks, call);
    match &mut model.page_mut().view {
        View::Schema(comparison) => comparison.rows = Asked::Waiting(ticket),
        View::Diff(diff) => diff.rows = Asked::Waiting(ticket),
        _ => {}
    }
    vec![effect]
}

/// A call, with a number for its answer.
fn run(model: &mut Model, node: NodeId, call: Call) -> (Ticket, Effect) {
    let ticket = model.next_ticket;
    model.next_ticket += 1;
    model.calls.insert(ticket, Underway { since: model.now, node, sql: call.shown() });
    (ticket, Effect::Run(ticket, node, call))
}

fn abandon(model: &mut Model, ticket: Ticket) -> Effect {
    if let Some(Underway { since, node, sql }) = model.calls.remove(&ticket) {
        model.keep(node, Statement { at: since, sql, micros: None, outcome: "given up".to_owned() });
    }
    Effect::Abandon(ticket)
}

#[cfg(test)]
mod tests;
