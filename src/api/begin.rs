//! What every request ends with: the operation's row and all that belongs to it. It begins when the transaction commits.

use crate::catalog::operations::{self, NewOperation};
use crate::catalog::{events, nodes};
use crate::error::Result;
use crate::pg::{raise, shmem};
use crate::schema::{Plan, LEFT_OUT};
use steep_repl_core::event::{self, Event, Severity};
use steep_repl_core::names::{self, Token};
use steep_repl_core::node_state::NodeState;
use steep_repl_core::selection::NoIdentity;

/// The publications of an operation: the user's, or those that it makes.
pub(super) fn publications(users: Option<&str>, no_identity: NoIdentity, token: Token) -> Vec<String> {
    match users {
        Some(name) => vec![name.to_owned()],
        // Tables of that kind may come later.
        None if no_identity == NoIdentity::InsertOnly => {
            vec![names::publication_name(token), names::insert_only_publication_name(token)]
        }
        None => vec![names::publication_name(token)],
    }
}

/// Writes an operation with its tables.
pub(super) fn operation(new: &NewOperation, plan: &Plan) -> Result<i64> {
    let id = operations::insert(new)?;
    operations::insert_tables(id, &plan.tables)?;
    shmem::want_at_commit(id)?;
    super::wait::note_started(id);
    Ok(id)
}

/// Writes one that initializes its node, and tells what one should know of it.
pub(super) fn init(new: &NewOperation, plan: &Plan) -> Result<i64> {
    let id = operation(new, plan)?;
    nodes::set_state(new.node, NodeState::Preparing, Some(new.source), None)?;
    let mut noted = vec![about(event::INIT_STATE_CHANGE, id, new).message("PREPARING")];
    noted.extend(mismatch(id, new, plan));
    noted.extend(say_remarks(id, new, plan));
    events::write(&noted)?;
    Ok(id)
}

fn about(name: &str, id: i64, new: &NewOperation) -> Event {
    Event::info(name).operation_id(id).node(new.node).source(new.source)
}

/// The event about differences that somebody has to confirm.
fn mismatch(id: i64, new: &NewOperation, plan: &Plan) -> Option<Event> {
    if plan.differences.is_empty() {
        return None;
    }
    let mut event = about(event::SCHEMA_MISMATCH_DETECTED, id, new)
        .message(crate::error::listed(&plan.differences))
        .hint("Change the tables where that is wanted, then use steep_repl.confirm_init(node).");
    event.severity = Severity::Warning;
    Some(event)
}

/// Tells the caller what one should know of a plan; returns the events about it.
pub(super) fn say_remarks(id: i64, new: &NewOperation, plan: &Plan) -> Vec<Event> {
    let mut noted = Vec::new();
    for (check, text) in plan.remarks() {
        let mut remark = about(&format!("init.{check}"), id, new);
        if check == LEFT_OUT {
            raise::notice(&text);
        } else {
            raise::warning(&text);
            remark.severity = Severity::Warning;
        }
        noted.push(remark.message(text));
    }
    noted
}
