//! What a reader has seen.

use std::sync::Arc;

use super::abandon;
use crate::tui::message::Effect;
use crate::tui::model::dialog::Dialog;
use crate::tui::model::node::Node;
use crate::tui::model::{Gravity, Model};
use crate::tui::snapshot::{Contact, NodeId, NodeStatus, Snapshot, FIRST};

/// Takes over a look at a node. The first connection also says which other nodes there are.
pub(super) fn seen(model: &mut Model, id: NodeId, snapshot: &Arc<Snapshot>) -> Vec<Effect> {
    model.now = model.now.max(snapshot.taken_at);
    let chosen = model.chosen().map(|node| node.id);
    let Some(node) = model.nodes.iter_mut().find(|node| node.id == id) else { return Vec::new() };
    node.see(snapshot);
    let statements = snapshot.readings.iter().enumerate();
    model.readings.extend(statements.map(|(n, statement)| ((id, n), statement.clone())));
    let mut effects = Vec::new();
    if id == FIRST {
        if let Contact::Node(_, reading) = &snapshot.contact {
            effects = registered(model, &reading.nodes);
        } else if let Contact::Source(_) = &snapshot.contact {
            effects = registered(model, &[]);
        }
    }
    model.nodes.sort_by(|a, b| a.name.cmp(&b.name));
    // The cursor stays on the node, not on the row.
    if let Some(at) = chosen.and_then(|id| model.nodes_shown().iter().position(|node| node.id == id)) {
        if let Some(page) = model.pages.first_mut() {
            page.cursor = at;
        }
    }
    effects
}

/// Compares the nodes that are registered with those that are watched.
fn registered(model: &mut Model, nodes: &[NodeStatus]) -> Vec<Effect> {
    let mut effects = Vec::new();
    let mut no_longer_there = Vec::new();
    let own = nodes.iter().find(|status| status.is_local);
    let (place, now) = (model.place.clone(), model.now);
    if let Some(first) = model.nodes.iter_mut().find(|node| node.id == FIRST) {
        first.name = own.map_or(place, |own| own.node.clone());
    }
    let others = || nodes.iter().filter(|status| !status.is_local);
    model.nodes.retain(|node| {
        let stays = node.id == FIRST || others().any(|status| status.node == node.name);
        if !stays {
            no_longer_there.push(node.id);
            effects.push(Effect::Unwatch(node.id));
        }
        stays
    });
    let watched: Vec<NodeId> = model.nodes.iter().map(|node| node.id).collect();
    model.readings.retain(|(id, _), _| watched.contains(id));
    for status in others() {
        let conninfo = status.conninfo.clone().unwrap_or_default();
        match model.nodes.iter_mut().find(|node| node.id != FIRST && node.name == status.node) {
            Some(node) if node.conninfo == conninfo => {}
            Some(node) => {
                // It was registered anew, somewhere else.
                no_longer_there.push(node.id);
                *node = Node::new(node.id, &status.node, &conninfo, now);
                effects.push(Effect::Watch(node.id, conninfo));
            }
            None => {
                let id = NodeId(model.next_id);
                model.next_id += 1;
                model.nodes.push(Node::new(id, &status.node, &conninfo, model.now));
                effects.push(Effect::Watch(id, conninfo));
            }
        }
    }
    effects.extend(withdraw(model, &no_longer_there));
    effects
}

/// What is to be confirmed was meant for the database that was shown; by now the name may stand for another one.
fn withdraw(model: &mut Model, ids: &[NodeId]) -> Option<Effect> {
    let (node, name, ticket) = match model.dialog.as_ref()? {
        Dialog::Form(form) => (form.node, form.name.clone(), None),
        Dialog::Preview(preview) if preview.sent.is_some() => return None,
        Dialog::Preview(preview) => (preview.node, preview.title.clone(), preview.check.ticket()),
    };
    if !ids.contains(&node) {
        return None;
    }
    model.dialog = None;
    model.say(Gravity::Warning, format!("{name}: the node is no longer where it was; nothing was done"));
    ticket.map(|ticket| abandon(model, ticket))
}
