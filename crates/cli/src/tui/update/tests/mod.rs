//! Keys, dialogs and messages, without a server.

mod anything;
mod dialogs;
mod nodes;
mod pages;

use crate::tui::message::Effect;
use crate::tui::model::Model;
use crate::tui::samples::*;
use crate::tui::snapshot::*;

fn uninitialized() -> Reading {
    let own = NodeStatus { is_local: true, ..status("node_b", "UNINITIALIZED") };
    Reading { nodes: vec![status("node_a", "UNINITIALIZED"), own], ..Reading::default() }
}

/// With the cursor on node_b.
fn on_node_b(reading: Reading) -> Model {
    let mut model = pair(PLAIN, reading);
    type_in(&mut model, "G");
    assert_eq!(model.chosen().unwrap().name, "node_b");
    model
}

fn calls(effects: &[Effect]) -> Vec<String> {
    let shown = |effect: &Effect| match effect {
        Effect::Run(_, _, call) => Some(call.shown()),
        _ => None,
    };
    effects.iter().filter_map(shown).collect()
}

/// A call about node_b that is meant for one operation.
fn only(function: &str, operation: i64) -> String {
    format!("begin; select steep_repl.{function}('node_b'); commit; -- rollback unless it was operation {operation}")
}

fn notice(model: &Model) -> &str {
    model.notice.as_ref().map_or("", |notice| notice.text.as_str())
}
