//! The state of the node that is worked on, written in the transaction of its cause.
//!
//! An initialization takes its node through the states. A refresh does not: the node is SYNCHRONIZED before, meanwhile and after,
//! and only its health says when something is wrong.

use crate::catalog::operations::Operation;
use crate::catalog::{events, nodes};
use crate::error::Result;
use steep_repl_core::errors::Problem;
use steep_repl_core::event::{self, Event};
use steep_repl_core::node_state::NodeState;

/// Takes the node of an operation to a state, with its event. Nothing happens when it is there already.
pub fn enter(operation: &Operation, state: NodeState) -> Result<()> {
    if !operation.works_on_node() {
        return Ok(());
    }
    if operation.is_refresh() {
        return match state {
            NodeState::Synchronized | NodeState::Uninitialized => nodes::set_health(&operation.node, "ok", None),
            _ => Ok(()),
        };
    }
    if nodes::get(&operation.node)?.state()? == state {
        return Ok(());
    }
    let source = (state == NodeState::Synchronized).then_some(operation.source.as_str());
    nodes::set_state(&operation.node, state, source, None)?;
    events::write(&[change(operation, state)])
}

/// Says that the operation of a node has failed.
pub fn fail(operation: &Operation, problem: &Problem) -> Result<()> {
    if !operation.works_on_node() {
        return Ok(());
    }
    if operation.is_refresh() {
        return nodes::set_health(&operation.node, "warning", Some(problem));
    }
    nodes::set_state(&operation.node, NodeState::Failed, None, Some(problem))?;
    events::write(&[change(operation, NodeState::Failed)])
}

fn change(operation: &Operation, state: NodeState) -> Event {
    Event::info(event::INIT_STATE_CHANGE)
        .operation_id(operation.id)
        .node(&operation.node)
        .source(&operation.source)
        .message(state.as_str())
}
