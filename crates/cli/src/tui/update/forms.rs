//! Forms: which fields they have, how they are filled in, and the call that comes of them.

use std::sync::Arc;

use ratatui::crossterm::event::{KeyCode, KeyEvent};

use super::typing::edit;
use super::{refuse, run, show};
use crate::args::names;
use crate::tui::call::{Call, Gives, Value};
use crate::tui::message::Effect;
use crate::tui::model::dialog::{Check, Dialog, Field, Form, Input, Preview, Purpose};
use crate::tui::model::line::Line;
use crate::tui::model::node::{Node, Standing};
use crate::tui::model::page::{compared_shown, Asked, Comparison, TableDiff, View};
use crate::tui::model::{Gravity, Model};
use crate::tui::snapshot::{NodeId, Reading};

/// The node that is chosen, if something can be done to it; else why not.
pub(super) fn target(model: &Model) -> Result<(NodeId, String, Arc<Reading>), String> {
    let Some(node) = model.chosen() else { return Err("no node is chosen".to_owned()) };
    let own = node.reading().and_then(|reading| Some((reading.own()?.node.clone(), Arc::clone(reading))));
    match (node.standing(model.now), own) {
        (Standing::State(_) | Standing::Unknown, Some((name, reading))) => Ok((node.id, name, reading)),
        (Standing::Source, _) => Err(format!("{} is a source: it has no extension that could do it", node.name)),
        (Standing::Unregistered, _) => Err(format!(
            "{} is not registered in itself: select steep_repl.register_node(..., is_local => true)",
            node.name
        )),
        (Standing::Connecting, _) => Err(format!("{} has not answered yet", node.name)),
        _ => Err(format!("{} cannot be reached", node.name)),
    }
}

/// The form of `init_node`.
pub(super) fn open_init(model: &mut Model) -> Vec<Effect> {
    if model.read_only {
        return refuse(model);
    }
    let (node, name, reading) = match target(model) {
        Ok(target) => target,
        Err(why) => return warn(model, why),
    };
    let mut sources: Vec<&str> =
        reading.nodes.iter().filter(|status| !status.is_local).map(|status| status.node.as_str()).collect();
    if sources.is_empty() {
        return warn(
            model,
            format!("no source is registered in {name}: select steep_repl.register_node(node, conninfo)"),
        );
    }
    // The source it had is the likely one.
    let before = reading.own().and_then(|own| own.source.clone());
    sources.sort_by_key(|source| before.as_deref() != Some(*source));
    let fields = vec![
        Field::choice("source", &sources, "Where the data comes from."),
        Field::choice(
            "method",
            &["auto", "parallel", "snapshot", "two_phase"],
            "How it is copied; auto lets the server choose.",
        ),
        Field::choice(
            "schema_sync",
            &["default", "strict", "auto", "manual"],
            "When tables differ: strict refuses, auto makes them match, manual waits for you.",
        ),
        Field::number("parallel_workers", "default", "Copy workers, 1 to 64; nothing takes the server's setting."),
        Field::choice(
            "no_identity",
            &["error", "insert_only", "full"],
            "Tables without a key: refuse, replicate inserts only, or set REPLICA IDENTITY FULL on the source.",
        ),
        Field::text("publication", "own", "A publication that is there already; nothing makes one."),
        Field::choice("force", &["false", "true"], "Rows that are in the tables of this node are DELETED first."),
    ];
    model.dialog = Some(Dialog::Form(Form { purpose: Purpose::Init, node, name, fields, at: 0, wrong: None }));
    Vec::new()
}

/// The form of `refresh_tables`.
pub(super) fn open_refresh(model: &mut Model) -> Vec<Effect> {
    if model.read_only {
        return refuse(model);
    }
    let (node, name, _) = match target(model) {
        Ok(target) => target,
        Err(why) => return warn(model, why),
    };
    let fields = vec![
        Field::text(
            "tables",
            "all that are new",
            "Names as in SQL, separated by commas; nothing takes all that are not replicated.",
        ),
        Field::choice(
            "no_identity",
            &["as before", "error", "insert_only", "full"],
            "Tables without a key: refuse, replicate inserts only, or set REPLICA IDENTITY FULL on the source.",
        ),
        Field::choice("force", &["false", "true"], "Rows that are in these tables of this node are DELETED first."),
    ];
    model.dialog = Some(Dialog::Form(Form { purpose: Purpose::Refresh, node, name, fields, at: 0, wrong: None }));
    Vec::new()
}

/// The form that chooses two nodes to be compared.
pub(super) fn open_compare(model: &mut Model) -> Vec<Effect> {
    let knows = |node: &&Node| node.reading().is_some_and(|reading| reading.nodes.len() > 1);
    let chosen = model.chosen().filter(knows);
    let Some(asked) = chosen.or_else(|| model.nodes.iter().find(knows)) else {
        return warn(model, "no node that answers knows another one to be compared with");
    };
    let Some(reading) = asked.reading() else { return Vec::new() };
    let own = reading.own();
    let names = |first: Option<&str>| {
        let mut names: Vec<&str> = reading.nodes.iter().map(|status| status.node.as_str()).collect();
        names.sort_by_key(|name| Some(*name) != first);
        names
    };
    let b = own.map(|own| own.node.as_str());
    let other = || reading.nodes.iter().map(|status| status.node.as_str()).find(|name| Some(*name) != b);
    let a = own.and_then(|own| own.source.as_deref()).or_else(other);
    let fields = vec![
        Field::choice("node_a", &names(a), "The reference, usually the source."),
        Field::choice("node_b", &names(b), "The node that should be like it."),
    ];
    let (node, name) = (asked.id, asked.name.clone());
    model.dialog = Some(Dialog::Form(Form { purpose: Purpose::Compare, node, name, fields, at: 0, wrong: None }));
    Vec::new()
}

/// What differs in the table under the cursor.
pub(super) fn open_diff(model: &mut Model, comparison: &Comparison) -> Vec<Effect> {
    let Asked::Here(rows) = &comparison.rows else { return Vec::new() };
    let page = model.page();
    let shown = compared_shown(rows, &page.filter);
    let Some(row) = shown.get(page.row(shown.len())) else { return Vec::new() };
    let (asks, a, b, table) = (comparison.asks, comparison.a.clone(), comparison.b.clone(), row.name.clone());
    let (ticket, effect) = run(model, asks, Call::diff(&a, &b, &table));
    let mut effects = show(model, View::Diff(TableDiff { asks, a, b, table, rows: Asked::Waiting(ticket) }));
    effects.push(effect);
    effects
}

/// Begins a comparison.
pub(super) fn compare(model: &mut Model, asks: NodeId, a: &str, b: &str) -> Vec<Effect> {
    let (ticket, effect) = run(model, asks, Call::compare(a, b));
    let (a, b) = (a.to_owned(), b.to_owned());
    let mut effects = show(model, View::Schema(Comparison { asks, a, b, rows: Asked::Waiting(ticket) }));
    effects.push(effect);
    effects
}

/// A key while a form is filled in.
pub(super) fn pressed(model: &mut Model, key: KeyEvent) -> Vec<Effect> {
    let Some(Dialog::Form(form)) = &mut model.dialog else { return Vec::new() };
    form.wrong = None;
    let last = form.fields.len().saturating_sub(1);
    match key.code {
        KeyCode::Esc => model.dialog = None,
        KeyCode::Enter => return submit(model),
        KeyCode::Tab | KeyCode::Down => form.at = if form.at >= last { 0 } else { form.at + 1 },
        KeyCode::BackTab | KeyCode::Up => form.at = form.at.checked_sub(1).unwrap_or(last),
        code => {
            if let Some(field) = form.fields.get_mut(form.at) {
                fill_in(&mut field.input, code);
            }
        }
    }
    Vec::new()
}

fn fill_in(input: &mut Input, code: KeyCode) {
    /// More than any list of tables that somebody types.
    const LONGEST: usize = 2_000;
    match (input, code) {
        (Input::Choice { options, chosen }, KeyCode::Right | KeyCode::Char(' ' | 'l')) if !options.is_empty() => {
            *chosen = (*chosen + 1) % options.len();
        }
        (Input::Choice { options, chosen }, KeyCode::Left | KeyCode::Char('h')) if !options.is_empty() => {
            *chosen = (*chosen + options.len() - 1) % options.len();
        }
        (Input::Choice { options, chosen }, KeyCode::Char(c)) => {
            // The next option that begins with the letter.
            let begins = |&n: &usize| options[n].to_lowercase().starts_with(c.to_ascii_lowercase());
            let order = (1..=options.len()).map(|step| (*chosen + step) % options.len());
            *chosen = order.into_iter().find(begins).unwrap_or(*chosen);
        }
        (Input::Text { line, digits: true, .. }, code) => {
            edit(line, code, |text, c| text.len() < 3 && c.is_ascii_digit());
        }
        (Input::Text { line, digits: false, .. }, code) => {
            edit(line, code, |text, _| text.len() < LONGEST);
        }
        _ => {}
    }
}

fn submit(model: &mut Model) -> Vec<Effect> {
    let Some(Dialog::Form(form)) = model.dialog.take() else { return Vec::new() };
    match form.purpose {
        Purpose::Init => preview_init(model, form),
        Purpose::Refresh => preview_refresh(model, form),
        Purpose::Compare if form.value("node_a") == form.value("node_b") => {
            refill(model, form, "choose two different nodes")
        }
        Purpose::Compare => compare(model, form.node, form.value("node_a"), form.value("node_b")),
    }
}

/// Back to the form, with what is wrong.
fn refill(model: &mut Model, form: Form, wrong: &str) -> Vec<Effect> {
    model.dialog = Some(Dialog::Form(Form { wrong: Some(wrong.to_owned()), ..form }));
    Vec::new()
}

/// Arguments that are not as the function has them anyway.
fn named(form: &Form, arguments: &[&'static str]) -> Vec<(&'static str, Value)> {
    let given = arguments.iter().filter_map(|name| form.field(name)).filter(|field| !field.is_default());
    given
        .map(|field| {
            let value = field.value();
            let value = match field.name {
                "force" => Value::Truth(value == "true"),
                "parallel_workers" => Value::Number(value.parse().unwrap_or(0)),
                "tables" => Value::Names(names(value).unwrap_or_default()),
                _ => Value::Text(value.to_owned()),
            };
            (field.name, value)
        })
        .collect()
}

fn preview_init(model: &mut Model, form: Form) -> Vec<Effect> {
    let workers = form.field("parallel_workers").filter(|field| !field.is_default());
    if workers.is_some_and(|field| !field.value().parse().is_ok_and(|n: u32| (1..=64).contains(&n))) {
        return refill(model, form, "parallel_workers must be between 1 and 64");
    }
    let source = form.value("source").to_owned();
    let plain = vec![Value::Text(form.name.clone()), Value::Text(source.clone())];
    let arguments = ["method", "schema_sync", "parallel_workers", "no_identity", "publication", "force"];
    let call = Call { named: named(&form, &arguments), ..Call::new("init_node", plain.clone(), Gives::Value) };
    let beforehand = ["method", "schema_sync", "no_identity", "publication", "force"];
    let preflight = Call { named: named(&form, &beforehand), ..Call::new("preflight", plain, Gives::Findings) };
    let force = form.value("force") == "true";
    let mut says =
        vec![format!("Copies all tables of {source} into {} and then replicates what changes there.", form.name)];
    if form.value("publication").is_empty() {
        says.push(format!("On {source}: a publication and a replication slot are made."));
    } else {
        says.push(format!("On {source}: a replication slot is made."));
    }
    says.push(format!("On {}: tables are not meant to be read until it is SYNCHRONIZED.", form.name));
    if form.value("no_identity") == "full" {
        says.push(format!("On {source}: tables without a key get REPLICA IDENTITY FULL."));
    }
    if force {
        says.push(format!("Rows that are in the tables of {} are DELETED first.", form.name));
    }
    let (ticket, effect) = run(model, form.node, preflight);
    let title = format!("initialize {} from {source}", form.name);
    show_before(model, form, title, says, call, Check::Preflight(Asked::Waiting(ticket)));
    vec![effect]
}

fn preview_refresh(model: &mut Model, form: Form) -> Vec<Effect> {
    let tables = form.field("tables").filter(|field| !field.is_default());
    if let Some(Err(why)) = tables.map(|field| names(field.value())) {
        return refill(model, form, &format!("tables: {why}"));
    }
    let call = Call {
        named: named(&form, &["tables", "no_identity", "force"]),
        ..Call::on_node("refresh_tables", &form.name)
    };
    let force = form.value("force") == "true";
    let mut says = vec![
        format!(
            "Tables that came to the source since {} was initialized are copied and join its subscription.",
            form.name
        ),
        "All other tables go on replicating; they pause for a moment when the new ones join.".to_owned(),
    ];
    if force {
        says.push(format!("Rows that are in these tables of {} are DELETED first.", form.name));
    }
    let offers_more =
        model.node(form.node).and_then(Node::reading).is_some_and(|reading| reading.offers("reinit_node"));
    if !offers_more {
        says.push(
            "Copying tables again that replicate already: this server does not offer it yet (reinit_node).".to_owned(),
        );
    }
    let (ticket, effect) = run(model, form.node, Call::not_subscribed(&form.name));
    let title = format!("bring new tables into {}", form.name);
    show_before(model, form, title, says, call, Check::Tables(Asked::Waiting(ticket)));
    vec![effect]
}

/// Shows what will be done before it is done; where rows are deleted the node's name has to be typed.
fn show_before(model: &mut Model, form: Form, title: String, says: Vec<String>, call: Call, check: Check) {
    let preview = Preview {
        node: form.node,
        title,
        says,
        call,
        check,
        type_name: (form.value("force") == "true").then(|| form.name.clone()),
        typed: Line::default(),
        scroll: 0,
        form: Some(form),
        sent: None,
        failed: None,
    };
    model.dialog = Some(Dialog::Preview(Box::new(preview)));
}

/// Says why it was not done.
pub(super) fn warn(model: &mut Model, why: impl Into<String>) -> Vec<Effect> {
    model.say(Gravity::Warning, why);
    Vec::new()
}
