//! What came of a call.

use std::sync::Arc;

use super::show;
use crate::tui::message::{Answer, Effect, Ticket};
use crate::tui::model::dialog::{Check, Dialog};
use crate::tui::model::page::{Asked, View};
use crate::tui::model::{Gravity, Model};
use crate::tui::snapshot::Statement;

/// Gives an answer to whoever waits for it.
pub(super) fn answered(model: &mut Model, ticket: Ticket, answer: Answer, statement: Statement) -> Vec<Effect> {
    // One that was given up meanwhile is in nobody's hands any more.
    let Some(call) = model.calls.remove(&ticket) else { return Vec::new() };
    model.keep(call.node, statement);
    for page in &mut model.pages {
        match &mut page.view {
            View::Schema(comparison) if comparison.rows == Asked::Waiting(ticket) => {
                comparison.rows = match answer {
                    Answer::Compared(rows) => Asked::Here(Arc::new(rows)),
                    Answer::Failed(trouble) => Asked::Failed(trouble),
                    _ => Asked::No,
                };
                return Vec::new();
            }
            View::Diff(diff) if diff.rows == Asked::Waiting(ticket) => {
                diff.rows = match answer {
                    Answer::Differences(rows) => Asked::Here(Arc::new(rows)),
                    Answer::Failed(trouble) => Asked::Failed(trouble),
                    _ => Asked::No,
                };
                return Vec::new();
            }
            _ => {}
        }
    }
    let Some(Dialog::Preview(preview)) = &mut model.dialog else { return Vec::new() };
    if preview.check.ticket() == Some(ticket) {
        preview.check = match answer {
            Answer::Findings(findings) => Check::Preflight(Asked::Here(findings)),
            Answer::Tables(tables) => Check::Tables(Asked::Here(tables)),
            Answer::Failed(trouble) if matches!(preview.check, Check::Tables(_)) => {
                Check::Tables(Asked::Failed(trouble))
            }
            Answer::Failed(trouble) => Check::Preflight(Asked::Failed(trouble)),
            _ => Check::None,
        };
        return Vec::new();
    }
    if preview.sent != Some(ticket) {
        return Vec::new();
    }
    preview.sent = None;
    match answer {
        Answer::Failed(trouble) => {
            preview.failed = Some(trouble);
            preview.scroll = 0;
            Vec::new()
        }
        answer => {
            let (node, title, function) = (preview.node, preview.title.clone(), preview.call.function);
            model.dialog = None;
            let Answer::Done { value, warnings } = answer else { return Vec::new() };
            let nothing_to_do = value.is_empty() && function == "refresh_tables";
            let said = match value.as_str() {
                "" if nothing_to_do => "there are no tables to bring in".to_owned(),
                "" => format!("{title}: done"),
                operation => format!("{title}: operation {operation}"),
            };
            if warnings.is_empty() {
                model.say(Gravity::Info, said);
            } else {
                model.say(Gravity::Warning, format!("{said}; {}", warnings.join("; ")));
            }
            if nothing_to_do {
                return Vec::new();
            }
            let mut effects = show(model, View::Operation(node));
            effects.push(Effect::LookNow(node));
            effects
        }
    }
}
