//! The line that is typed: a command after `:`, a filter after `/`.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::forms::{self, warn};
use super::typing::edit;
use super::{act, refuse, show};
use crate::config::nearest;
use crate::tui::keys::{Action, COMMANDS};
use crate::tui::message::Effect;
use crate::tui::model::line::Line;
use crate::tui::model::node::Node;
use crate::tui::model::page::View;
use crate::tui::model::Model;

/// A key while the line is typed. A filter works as it is typed.
pub(super) fn typed(model: &mut Model, key: KeyEvent) -> Vec<Effect> {
    let Some(prompt) = &mut model.prompt else { return Vec::new() };
    match key.code {
        KeyCode::Esc => {
            let prompt = model.prompt.take();
            if let Some(prompt) = prompt.filter(|prompt| prompt.is_filter) {
                let page = model.page_mut();
                (page.filter, page.cursor) = prompt.before;
            }
        }
        KeyCode::Enter => {
            let Some(prompt) = model.prompt.take() else { return Vec::new() };
            if !prompt.is_filter {
                return command(model, prompt.line.text());
            }
        }
        KeyCode::Backspace if prompt.line.text().is_empty() => model.prompt = None,
        KeyCode::Char('u' | 'w') if key.modifiers.contains(KeyModifiers::CONTROL) => prompt.line = Line::default(),
        KeyCode::Char(_) if key.modifiers.contains(KeyModifiers::CONTROL) => {}
        KeyCode::Tab if !prompt.is_filter => {
            if let Some((name, ..)) = COMMANDS.iter().find(|(name, ..)| name.starts_with(prompt.line.text())) {
                prompt.line = Line::new(format!("{name} "));
            }
        }
        code => {
            edit(&mut prompt.line, code, |text, _| text.len() < 200);
        }
    }
    filter_as_typed(model);
    Vec::new()
}

/// What is typed as a filter works at once; only when it has changed does the cursor go to the first row.
fn filter_as_typed(model: &mut Model) {
    let Some(prompt) = model.prompt.as_ref().filter(|prompt| prompt.is_filter) else { return };
    let text = prompt.line.text().to_owned();
    let page = model.page_mut();
    if page.filter != text {
        (page.filter, page.cursor) = (text, 0);
    }
}

/// Does what a line says.
fn command(model: &mut Model, line: &str) -> Vec<Effect> {
    let mut words = line.split_whitespace();
    let Some(name) = words.next() else { return Vec::new() };
    let rest: Vec<&str> = words.collect();
    // Short forms, as in vi: q, and any beginning that only one command has.
    let beginning: Vec<_> = COMMANDS.iter().filter(|(command, ..)| command.starts_with(name)).collect();
    let exact = COMMANDS.iter().find(|(command, ..)| *command == name);
    let Some((name, takes, _, changes)) =
        exact.or(if beginning.len() == 1 { beginning.first().copied() } else { None })
    else {
        let nearest = nearest(name, COMMANDS.iter().map(|(command, ..)| *command));
        let hint = nearest.map_or(String::new(), |nearest| format!("; did you mean :{nearest}?"));
        return warn(model, format!("there is no command :{name}{hint}"));
    };
    if *changes && model.read_only {
        return refuse(model);
    }
    if takes.is_empty() && !rest.is_empty() {
        return warn(model, format!(":{name} takes no name"));
    }
    let mut effects = Vec::new();
    match (*name, rest.as_slice()) {
        ("schema", [a, b]) => return compare(model, a, b),
        ("events", words) => {
            let effects = show(model, View::Events);
            model.page_mut().filter = words.join(" ");
            return effects;
        }
        (_, [node]) => match choose(model, node) {
            Ok(chosen) => effects.extend(chosen),
            Err(why) => return warn(model, why),
        },
        (_, []) => {}
        (name, _) => return warn(model, format!(":{name} takes no more than one name")),
    }
    let action = match *name {
        "nodes" => None,
        "node" => Some(Action::Open),
        "schema" => Some(Action::Schema),
        "snapshots" => Some(Action::Snapshots),
        "sql" => Some(Action::Statements),
        "help" => Some(Action::Help),
        "init" => Some(Action::Initialize),
        "refresh" | "reinit" => Some(Action::Reinitialize),
        "cancel" => Some(Action::Cancel),
        "resume" | "confirm" => Some(Action::GoOn),
        _ => Some(Action::Quit),
    };
    match action {
        None => effects.extend(show(model, View::Nodes)),
        Some(Action::Open) => {
            if let Some(id) = model.chosen().map(|node| node.id) {
                effects.extend(show(model, View::Operation(id)));
            }
        }
        Some(action) => effects.extend(act(model, action)),
    }
    effects
}

/// Goes to the page of nodes and puts the cursor on one.
fn choose(model: &mut Model, name: &str) -> Result<Vec<Effect>, String> {
    let Some(id) = model.node_named(name).map(|node| node.id) else {
        let nearest = nearest(name, model.nodes.iter().map(|node| node.name.as_str()));
        return Err(format!(
            "there is no node {name}{}",
            nearest.map_or(String::new(), |node| format!("; did you mean {node}?"))
        ));
    };
    let effects = show(model, View::Nodes);
    model.page_mut().filter.clear();
    let at = model.nodes_shown().iter().position(|node| node.id == id);
    model.page_mut().cursor = at.unwrap_or(0);
    Ok(effects)
}

fn compare(model: &mut Model, a: &str, b: &str) -> Vec<Effect> {
    let knows = |node: &Node, name: &str| {
        node.reading().is_some_and(|reading| reading.nodes.iter().any(|status| status.node == name))
    };
    match model.nodes.iter().find(|node| knows(node, a) && knows(node, b)).map(|node| node.id) {
        Some(asks) => forms::compare(model, asks, a, b),
        None => warn(model, format!("no node that answers knows both {a} and {b}")),
    }
}
