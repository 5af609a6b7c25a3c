//! Dialogs: what will be done is said, and done when it is confirmed.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::forms::{target, warn};
use super::typing::edit;
use super::{abandon, forms, refuse, run};
use crate::tui::call::Call;
use crate::tui::draw::furthest_of_preview;
use crate::tui::message::Effect;
use crate::tui::model::dialog::{Check, Dialog, Preview};
use crate::tui::model::line::Line;
use crate::tui::model::Model;
use crate::tui::snapshot::{NodeId, Reading};

/// Cancelling takes rows away, so the name of the node is to be typed.
pub(super) fn open_cancel(model: &mut Model) -> Vec<Effect> {
    if model.read_only {
        return refuse(model);
    }
    let (node, name, reading) = match target(model) {
        Ok(target) => target,
        Err(why) => return warn(model, why),
    };
    let status = operation_status(&reading);
    let Some(progress) =
        reading.progress.as_ref().filter(|_| matches!(status, "pending" | "running" | "failed" | "cancelling"))
    else {
        return warn(model, format!("nothing to cancel: no operation is under way on {name}"));
    };
    if status == "cancelling" {
        return warn(model, format!("operation {} on {name} is being cancelled already", progress.operation_id));
    }
    let source = &progress.source;
    let says = if progress.kind == "refresh" {
        vec![
            format!("Operation {} brings new tables from {source} into {name}.", progress.operation_id),
            format!("Undone here: the rows that were copied into these tables of {name}."),
            "All other tables go on replicating.".to_owned(),
        ]
    } else {
        vec![
            format!(
                "Operation {} ({:.1} %) initializes {name} from {source}.",
                progress.operation_id, progress.overall_percent
            ),
            format!("Undone on {name}: the rows that were copied, the subscription; indexes are as before."),
            format!("Undone on {source}: the replication slot, and the publications that were made for it."),
            format!("{name} is UNINITIALIZED afterwards. Beginning anew copies everything again."),
        ]
    };
    let title = format!("cancel operation {} on {name}", progress.operation_id);
    let call = Call::on_operation("cancel_init", &name, progress.operation_id);
    confirm(model, node, title, says, call, Some(name));
    Vec::new()
}

/// Resuming what failed, or confirming what waits: whichever the node is in need of.
pub(super) fn open_go_on(model: &mut Model) -> Vec<Effect> {
    if model.read_only {
        return refuse(model);
    }
    let (node, name, reading) = match target(model) {
        Ok(target) => target,
        Err(why) => return warn(model, why),
    };
    let Some(progress) = reading.progress.as_ref() else {
        return warn(model, format!("nothing to resume: there was no operation on {name}"));
    };
    let (title, says, function) = match operation_status(&reading) {
        "failed" => (
            format!("resume operation {} on {name}", progress.operation_id),
            vec![
                format!("Operation {} goes on after the last table that was finished.", progress.operation_id),
                format!("It failed because of: {}", progress.error.as_deref().unwrap_or("an unknown error")),
            ],
            "resume_init",
        ),
        "running" | "pending" if progress.phase == "schema" => (
            format!("confirm operation {} on {name}", progress.operation_id),
            vec![
                "If it waits because the schemas differ, it goes on with the tables as they are now.".to_owned(),
                "Tables that cannot be copied are left out; look at them with s first.".to_owned(),
            ],
            "confirm_init",
        ),
        _ => {
            return warn(
                model,
                format!("nothing to resume: operation {} on {name} has not failed", progress.operation_id),
            )
        }
    };
    let call = Call::on_operation(function, &name, progress.operation_id);
    confirm(model, node, title, says, call, None);
    Vec::new()
}

fn operation_status(reading: &Reading) -> &str {
    reading.own().and_then(|own| own.operation_status.as_deref()).unwrap_or_default()
}

fn confirm(model: &mut Model, node: NodeId, title: String, says: Vec<String>, call: Call, type_name: Option<String>) {
    let (check, typed) = (Check::None, Line::default());
    let preview =
        Preview { node, title, says, call, check, type_name, typed, scroll: 0, form: None, sent: None, failed: None };
    model.dialog = Some(Dialog::Preview(Box::new(preview)));
}

/// A key while something stands before the page.
pub(super) fn pressed(model: &mut Model, key: KeyEvent) -> Vec<Effect> {
    if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) {
        return Vec::new();
    }
    let last = match &model.dialog {
        Some(Dialog::Form(_)) => return forms::pressed(model, key),
        Some(Dialog::Preview(preview)) => furthest_of_preview(model, preview),
        None => return Vec::new(),
    };
    let Some(Dialog::Preview(preview)) = &mut model.dialog else { return Vec::new() };
    // It may have become shorter, or the terminal taller.
    let at = preview.scroll.min(last);
    match key.code {
        KeyCode::Esc => close(model),
        KeyCode::Enter => send(model),
        KeyCode::Up | KeyCode::Down | KeyCode::PageUp | KeyCode::PageDown => {
            preview.scroll = match key.code {
                KeyCode::Up => at.saturating_sub(1),
                KeyCode::Down => (at + 1).min(last),
                KeyCode::PageUp => at.saturating_sub(8),
                _ => (at + 8).min(last),
            };
            Vec::new()
        }
        // A name has at most 63 bytes.
        code if preview.type_name.is_some() => {
            edit(&mut preview.typed, code, |text, c| text.len() + c.len_utf8() <= 63);
            Vec::new()
        }
        KeyCode::Char('y' | 'Y') => send(model),
        KeyCode::Char('n' | 'N' | 'q') => close(model),
        _ => Vec::new(),
    }
}

/// Back to the form, if there was one; what is under way is given up.
fn close(model: &mut Model) -> Vec<Effect> {
    let Some(Dialog::Preview(preview)) = model.dialog.take() else { return Vec::new() };
    let waited_for = preview.check.ticket().into_iter().chain(preview.sent);
    let effects = waited_for.map(|ticket| abandon(model, ticket)).collect();
    if preview.sent.is_none() {
        model.dialog = preview.form.map(Dialog::Form);
    } else {
        model
            .say(crate::tui::model::Gravity::Warning, format!("{}: given up; look whether it was done", preview.title));
    }
    effects
}

fn send(model: &mut Model) -> Vec<Effect> {
    if model.read_only {
        model.dialog = None;
        return refuse(model);
    }
    let Some(Dialog::Preview(preview)) = &model.dialog else { return Vec::new() };
    if preview.failed.is_some() {
        return close(model);
    }
    if !preview.is_ready() {
        let why = match (&preview.check, &preview.type_name) {
            _ if preview.sent.is_some() => "it is under way",
            (check, _) if check.ticket().is_some() => "wait for the check",
            (check, _) if check.refuses() => "the server would refuse it: esc, and change the form",
            (_, Some(_)) => "type the name of the node first",
            _ => "not now",
        };
        return warn(model, why);
    }
    let (node, call) = (preview.node, preview.call.clone());
    let (ticket, effect) = run(model, node, call);
    if let Some(Dialog::Preview(preview)) = &mut model.dialog {
        preview.sent = Some(ticket);
    }
    vec![effect]
}
